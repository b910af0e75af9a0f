#pragma once

/// Training with all that belongs to it (Trainer), checkpoints, and text that a trained model
/// writes (TextGenerator).
#include "train/data/tokenizer.h"
#include "train/data/tokens.h"
#include "train/infer/stop_strings.h"
#include "train/infer/text_generator.h"
#include "train/infer/text_state.h"
#include "train/infer/whole_characters.h"
#include "train/library/model.h"
#include "train/run/checkpoint.h"
#include "train/run/data.h"
#include "train/run/options.h"
#include "train/run/precision.h"
#include "train/run/trainer.h"
