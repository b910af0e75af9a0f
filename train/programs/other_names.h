#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace mmrec {

/// Returns what an option is here that other programs (nanoGPT, llama.cpp, RWKV, trainers on
/// PyTorch) know by this name: "--lr" for "--learning_rate"; "" if that is nothing, or nothing that
/// this program `has`.
std::string option_known_as(std::string_view name,
                            const std::function<bool(const std::string& option)>& has);

}  // namespace mmrec
