#include "train/data/piece_model.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>
#include <utf8.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <optional>
#include <span>
#include <thread>
#include <unordered_set>
#include <utility>

#include "support/child_process.h"
#include "support/error.h"
#include "support/exceptions.h"
#include "train/data/data_file.h"
#include "train/data/tokenizer.h"

namespace mmrec {
namespace {

constexpr char32_t kSpaceCharacter = U'\u2581';  // SentencePiece's space
constexpr std::string_view kSpace = "\u2581";

/// Calls visit for what is between the spaces of SentencePiece, and `found` for each of these.
template <class Visit, class Found>
void split_at_spaces(std::string_view text, Visit visit, Found found) {
  for (size_t end; (end = text.find(kSpace)) != text.npos;
       text.remove_prefix(end + kSpace.size())) {
    visit(text.substr(0, end));
    found();
  }
  visit(text);
}

/// The lines to train with.
class Lines : public sentencepiece::SentenceIterator {
 public:
  explicit Lines(const std::vector<std::string>& lines) : lines_(lines) {}
  bool done() const override { return next_ == lines_.size(); }
  void Next() override { ++next_; }
  const std::string& value() const override { return lines_[next_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& lines_;
  size_t next_ = 0;
};

/// Returns the characters that are to have tokens, the most frequent ones: nearly all of the text,
/// but `most` at most. The rarer ones are written in bytes.
std::unordered_set<char32_t> frequent_characters(const std::vector<std::string>& lines,
                                                 size_t most) {
  constexpr double kNearlyAll = 0.9995;
  CharacterCounts counts;
  for (const std::string& line : lines) count_characters(line, "the text", counts);
  counts.erase(kSpaceCharacter);  // in the text itself it is not a space
  int64_t missing = 0;
  std::vector<std::pair<int64_t, char32_t>> sorted;  // (-occurrences, character)
  for (const auto& [character, count] : counts) {
    sorted.emplace_back(-count, character);
    missing += count;
  }
  std::ranges::sort(sorted);
  const double enough = (1 - kNearlyAll) * static_cast<double>(missing);
  std::unordered_set<char32_t> frequent;
  for (const auto& [count, character] : sorted) {
    if (frequent.size() == most || static_cast<double>(missing) <= enough) break;
    frequent.insert(character);
    missing += count;
  }
  return frequent;
}

/// Returns the parts of the lines that have no other characters.
std::vector<std::string> parts_of(const std::vector<std::string>& lines,
                                  const std::unordered_set<char32_t>& characters) {
  std::vector<std::string> parts;
  for (const std::string& line : lines) {
    const char *begin = line.data(), *const end = begin + line.size();
    for (const char* place = begin; place != end;) {
      const char* const character = place;
      const bool is_one = characters.contains(utf8::unchecked::next(place));
      const char* const until = is_one ? place : character;
      if (until > begin && (!is_one || place == end)) parts.emplace_back(begin, until);
      if (!is_one) begin = place;
    }
  }
  return parts;
}

/// Returns the file of a model of these lines, which have no other characters than those that are
/// to have tokens.
std::string trained(const std::vector<std::string>& lines, int limit) {
  Lines iterator(lines);
  std::string file;
  const auto status = sentencepiece::SentencePieceTrainer::Train(
      {{"model_type", "bpe"},
       {"vocab_size", std::to_string(limit)},
       {"hard_vocab_limit", "false"},  // a short text has fewer pairs
       {"byte_fallback", "true"},
       {"character_coverage", "1"},  // the others have been left out
       {"unk_id", "0"},
       {"pad_id", "1"},
       {"bos_id", "-1"},
       {"eos_id", "-1"},
       {"normalization_rule_name", "identity"},
       {"add_dummy_prefix", "false"},
       {"remove_extra_whitespaces", "false"},
       {"max_sentence_length", "65536"},
       {"num_threads", "1"},
       {"minloglevel", "3"}},
      &iterator, &file);
  if (!status.ok()) fail("SentencePiece could not make a tokenizer: {}", status.ToString());
  return file;
}

/// The same, but can be stopped.
std::string trained_by_child(const std::vector<std::string>& lines, int limit,
                             const std::function<void()>& check_stop) {
  const auto result = make_temporary_file();
  const auto write = [&](const std::string& text) {
    result->write(std::as_bytes(std::span(text)));
  };
  ChildProcess child([&] {
    try {
      write(trained(lines, limit));
      return EXIT_SUCCESS;
    } catch (const std::exception& error) {
      write(in_words(error));
      return EXIT_FAILURE;
    }
  });
  std::optional<int> code;
  for (; !(code = child.poll()); std::this_thread::sleep_for(std::chrono::milliseconds(10)))
    check_stop();
  result->seek(0);
  if (code == EXIT_SUCCESS) return result->read_rest();
  if (code == EXIT_FAILURE) fail("{}", result->read_rest());
  fail("the process that makes the tokenizer was ended by signal {}: out of memory?", -*code);
}

}  // namespace

std::string PieceModel::train(const std::vector<std::string>& lines, int limit,
                              const std::function<void()>& check_stop) {
  if (limit < kMinSize)
    fail_usage(
        "a vocabulary of {} is too small for a tokenizer of byte pairs, which has {} tokens for "
        "bytes; give at least {}",
        limit, kFirstPiece - kFirstByte, kMinSize);
  std::vector<std::string> parts =
      parts_of(lines, frequent_characters(lines, static_cast<size_t>(limit - kFirstPiece) / 2));
  if (parts.empty()) fail("there is no text to make a tokenizer of");
  parts.emplace_back(" ");  // the only character that has no bytes to fall back to
  return check_stop ? trained_by_child(parts, limit, check_stop) : trained(parts, limit);
}

PieceModel::PieceModel(std::string file, const std::string& name) : file_(std::move(file)) {
  const auto processor = std::make_shared<sentencepiece::SentencePieceProcessor>();
  if (const auto status = processor->LoadFromSerializedProto(file_); !status.ok())
    fail("{}: not a model of SentencePiece: {}", name, status.ToString());
  processor_ = processor;
  check(name);
}

void PieceModel::check(const std::string& name) const {
  bool fits = processor_->GetPieceSize() >= kFirstPiece && processor_->IsUnknown(0) &&
              processor_->IsControl(1);
  for (int byte = 0; fits && byte < 256; ++byte)
    fits = processor_->IdToPiece(kFirstByte + byte) == fmt::format("<0x{:02X}>", byte);
  for (int id = kFirstPiece; fits && id < processor_->GetPieceSize(); ++id)
    fits = !processor_->IsUnknown(id) && !processor_->IsControl(id) && !processor_->IsByte(id);
  if (!fits)
    fail(
        "{}: a model of SentencePiece whose ids are not <unk>, <pad>, the 256 bytes and pieces; "
        "make one with 'prepare --tokenizer bpe'",
        name);
  // Full-width letters, a ligature, spaces everywhere: what normalization would change.
  constexpr std::string_view kText = "  \uFF21\uFB01  e\u0301 \n ";
  const std::vector<std::string> bytes = tokens();
  std::vector<int32_t> ids;
  encode(kText, ids);
  std::string text;
  for (const int32_t id : ids) text += bytes[static_cast<size_t>(id)];
  if (text != kText)
    fail("{}: a model of SentencePiece that changes texts; make one with 'prepare --tokenizer bpe'",
         name);
}

void PieceModel::encode(std::string_view text, std::vector<int32_t>& ids) const {
  const auto add_bytes = [&](std::string_view bytes) {
    for (const char byte : bytes) ids.push_back(kFirstByte + static_cast<unsigned char>(byte));
  };
  std::vector<int> pieces;
  const auto add = [&](std::string_view valid) {
    if (valid.empty()) return;
    if (const auto status = processor_->Encode(valid, &pieces); !status.ok())
      fail("SentencePiece could not encode a text: {}", status.ToString());
    ids.insert(ids.end(), pieces.begin(), pieces.end());
  };
  while (!text.empty()) {
    const char* const bad = utf8::find_invalid(text.data(), text.data() + text.size());
    const auto valid = static_cast<size_t>(bad - text.data());
    split_at_spaces(text.substr(0, valid), add, [&] { add_bytes(kSpace); });
    text.remove_prefix(valid);
    add_bytes(text.substr(0, 1));
    text.remove_prefix(std::min<size_t>(1, text.size()));
  }
}

std::vector<std::string> PieceModel::tokens() const {
  std::vector<std::string> tokens(kFirstByte);
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  for (int id = kFirstPiece; id < processor_->GetPieceSize(); ++id) {
    std::string& token = tokens.emplace_back();
    split_at_spaces(
        processor_->IdToPiece(id), [&](std::string_view part) { token += part; },
        [&] { token += ' '; });
  }
  return tokens;
}

}  // namespace mmrec
