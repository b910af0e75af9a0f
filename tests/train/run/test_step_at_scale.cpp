#include "train/run/step_at_scale.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/common/expect_error.h"

namespace mmrec {
namespace {

/// A step of four parts of 1 s each, and an optimizer's of 0.1 s. Its gradients are 40 bytes of a
/// block, complete after 0.8 of a part, and 20 bytes of all else. Links take 100 bytes/s, and
/// nothing has overheads.
StepTerms simple_terms() {
  return {.parts = 4,
          .part = {1},
          .further_part = 1,
          .optimizer = 0.1,
          .chunks = {{40, 0.8}, {20, 1}},
          .network = {.bandwidth = 100, .delay = 0},
          .overheads = {.payload = 1,
                        .announced = 1e9,
                        .notice = 0,
                        .message_work = 0,
                        .byte_work = 0,
                        .asking = 0}};
}

TEST(StepAtScale, OneRankComputesAllParts) {
  const StepAtScale step = step_at_scale(simple_terms(), 1);
  EXPECT_DOUBLE_EQ(step.computing, 4);
  EXPECT_DOUBLE_EQ(step.communicating, 0);
  EXPECT_DOUBLE_EQ(step.step, 4.1);
  EXPECT_DOUBLE_EQ(step.efficiency, 1);
  EXPECT_EQ(step.sent, 0);
}

TEST(StepAtScale, AllWaitForTheSlowest) {
  StepTerms terms = simple_terms();
  for (int i = 1; i <= 100; ++i) terms.part.push_back(1 + 0.01 * i);
  terms.part.erase(terms.part.begin());
  EXPECT_NEAR(terms.slowest(1), 1.51, 1e-12) << "the median";
  EXPECT_NEAR(terms.slowest(2), 1.71, 1e-12) << "both are faster in half of the steps";
  EXPECT_NEAR(terms.slowest(1000), 1.91, 1e-12);
  EXPECT_NEAR(step_at_scale(terms, 4).computing, terms.slowest(4), 1e-12);
}

TEST(StepAtScale, ChunksTravelWhileTheBackwardPassGoesOn) {
  const StepAtScale step = step_at_scale(simple_terms(), 2);
  EXPECT_DOUBLE_EQ(step.computing, 2);
  // The block's slice of 20 bytes is sent from 0.8 to 1, and its sum from 1 to 1.2; then the
  // others' of 10 bytes, and their sums, until 1.4. All of it by itself takes 0.6.
  EXPECT_NEAR(step.communicating, 0.6, 1e-12);
  EXPECT_NEAR(step.exposed, 0.4, 1e-12);
  EXPECT_NEAR(step.hidden(), 1. / 3, 1e-12);
  EXPECT_NEAR(step.step, 2 + 0.4 + 0.1, 1e-12);
  EXPECT_NEAR(step.efficiency, 4.1 / (2 * 2.5), 1e-12);
  EXPECT_EQ(step.sent, 60);
}

TEST(StepAtScale, EachRankSendsAlmostTwiceTheGradients) {
  const StepAtScale step = step_at_scale(simple_terms(), 4);
  EXPECT_DOUBLE_EQ(step.computing, 1);
  EXPECT_NEAR(step.sent, 2 * 3. / 4 * 60, 1e-12);
  // 0.3 s for each way of the block's, from 0.8 s on, 0.15 for those of the rest
  EXPECT_NEAR(step.exposed, 0.7, 1e-12);
}

TEST(StepAtScale, DelaysCount) {
  StepTerms terms = simple_terms();
  terms.network.delay = 1;
  // The slices arrive at 2 and 2.1. The block's sums are sent until 2.2, the rest's until 2.3, and
  // arrive at 3.3. Beside that the command for the step and two gatherings take 1 s each.
  EXPECT_NEAR(step_at_scale(terms, 2).exposed, 2.3 + 3, 1e-12);
  terms.overheads.announced = 1;  // three ways for each message of the gradients
  EXPECT_NEAR(step_at_scale(terms, 2).exposed, 6.3 + 3, 1e-12);
}

TEST(StepAtScale, RanksOfANodeShareItsLink) {
  StepTerms terms = simple_terms();
  terms.ranks_per_node = 2;
  terms.copying = 1e9;
  const double copies = 1e-6;
  // of a rank's three slices two go through the link, those of both ranks: 40 + 40, 20 + 20 bytes
  EXPECT_NEAR(step_at_scale(terms, 4).exposed, 0.8 + 2 * 0.4 + 2 * 0.2 - 1, copies);
  terms.copying = 100;
  // on one node alone: both ranks copy 20 and 20, then 10 and 10 bytes, which takes their cores
  const StepAtScale near = step_at_scale(terms, 2);
  EXPECT_NEAR(near.communicating, 2 * 0.4 + 2 * 0.2, 1e-12);
  EXPECT_GT(near.exposed, near.communicating - 1e-12) << "nothing is hidden on busy cores";
  terms.threads = 4;
  EXPECT_LT(step_at_scale(terms, 2).exposed, near.exposed);
}

TEST(StepAtScale, AskingForSumsDelaysThePass) {
  StepTerms terms = simple_terms();
  terms.overheads.asking = 0.5;
  EXPECT_NEAR(step_at_scale(terms, 2).exposed, 0.4, 1e-12) << "the rest waits for the link anyway";
  terms.network.bandwidth = 200;
  // The block's sums are under way from 0.8 to 1, which delays the rest until 1.1.
  EXPECT_NEAR(step_at_scale(terms, 2).exposed, 0.1 + 0.1, 1e-12);
  terms.network.bandwidth = 1000;  // now from 0.8 to 0.84
  EXPECT_NEAR(step_at_scale(terms, 2).exposed, 0.02 + 0.02, 1e-12);
}

TEST(StepAtScale, AddingSumsTakesTime) {
  StepTerms terms = simple_terms();
  terms.adding = 0.01;
  terms.threads = 2;
  // Each rank adds a slice of 20 bytes to its own in 0.2 s, of which the pass lacks a half, and one
  // of 10 bytes in 0.1 s. The block's sums are sent from 1.2 to 1.4, and those of the rest follow.
  const StepAtScale step = step_at_scale(terms, 2);
  EXPECT_NEAR(step.exposed, 0.5, 1e-12);
  EXPECT_NEAR(step.communicating, 0.7, 1e-12);
}

TEST(StepAtScale, FurtherNodesOfTheTreeAreSentToo) {
  StepTerms terms = simple_terms();
  terms.parts = 6;  // three each: two nodes
  EXPECT_NEAR(step_at_scale(terms, 2).sent, 3 * 30, 1e-12);
  terms.has_tree = false;
  EXPECT_NEAR(step_at_scale(terms, 2).sent, 2 * 30, 1e-12);
}

TEST(StepAtScale, AShardedOptimizerSharesTheWeights) {
  StepTerms terms = simple_terms();
  const StepAtScale whole = step_at_scale(terms, 2);
  terms.shards_optimizer = true;
  terms.whole_optimizer = 0.02;
  const StepAtScale shards = step_at_scale(terms, 2);
  EXPECT_NEAR(shards.optimizer, 0.02 + 0.04, 1e-12);
  EXPECT_NEAR(shards.exposed - whole.exposed, 0.3, 1e-12) << "30 bytes of weights from each";
  EXPECT_NEAR(shards.sent - whole.sent, 30, 1e-12);
  EXPECT_DOUBLE_EQ(step_at_scale(terms, 1).optimizer, 0.1);
}

TEST(StepAtScale, CountsTheMemoryOfSums) {
  EXPECT_EQ(sum_bytes(100, 1, 1, true), 0);
  EXPECT_EQ(sum_bytes(100, 8, 1, true), 300) << "a level of the tree each";
  EXPECT_EQ(sum_bytes(100, 8, 2, true), 200 + 50);
  EXPECT_EQ(sum_bytes(100, 8, 8, true), 700. / 8);
  // ranks with the parts 0 to 2 and 3 to 5: (0 1) 2 and 3 (4 5), two nodes each
  EXPECT_EQ(sum_bytes(100, 6, 2, true), 100 + 100 + 150);
  EXPECT_EQ(sum_bytes(100, 6, 2, false), 0);
}

TEST(ParseNetwork, ReadsRateAndDelay) {
  const Link link = parse_network("25Gbps,20us");
  EXPECT_DOUBLE_EQ(link.bandwidth, 25e9 / 8);
  EXPECT_DOUBLE_EQ(link.delay, 20e-6);
  EXPECT_DOUBLE_EQ(parse_network("100Mbps,0.5ms").bandwidth, 1e8 / 8);
  EXPECT_DOUBLE_EQ(parse_network("100Mbps,0.5ms").delay, 5e-4);
  EXPECT_DOUBLE_EQ(parse_network("1.5Gbps,0s").delay, 0);
}

TEST(ParseNetwork, RefusesAnythingElse) {
  for (const char* text :
       {"", "25Gbps", "25Gbps,", ",20us", "25,20", "25Gbps,20", "25gbps,20us", "25 Gbps,20us",
        "0Gbps,20us", "-1Gbps,20us", "25Gbps,-1us", "25GBps,20us", "25Gbps,20us,1", "1e9Gbps,1us",
        "nanGbps,1us", "..Gbps,1us"})
    test::expect_error<UsageError>([&] { parse_network(text); },
                                   {"--network " + std::string(text), "25Gbps,20us"});
}

}  // namespace
}  // namespace mmrec
