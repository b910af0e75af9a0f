#include "support/exceptions.h"

#include <filesystem>
#include <new>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>

#include "support/error.h"
#include "support/file_descriptor.h"

namespace mmrec {

namespace {

std::string describe(const std::filesystem::filesystem_error& error) {
  std::filesystem::path paths = error.path1();
  if (!error.path2().empty()) paths += " and " + error.path2().string();
  if (paths.empty()) return fmt::format("cannot use a file or folder: {}", error.code().message());
  return file_problem("use", paths, error.code().value());
}

std::string describe(const nlohmann::json::exception& error) {
  constexpr int kMissing = 403;
  const std::string_view text =
      error.what();  // "[json.exception.out_of_range.403] key 'step' not found"
  const size_t begin = text.find('\''), end = text.rfind('\'');
  if (error.id == kMissing && begin < end)
    return fmt::format("the field {} is missing", text.substr(begin, end + 1 - begin));
  return "a field is missing or of the wrong type";
}

}  // namespace

std::string in_words(const std::exception& error) {
  if (const auto* file = dynamic_cast<const std::filesystem::filesystem_error*>(&error))
    return describe(*file);
  if (const auto* json = dynamic_cast<const nlohmann::json::exception*>(&error))
    return describe(*json);
  if (const auto* system = dynamic_cast<const std::system_error*>(&error))
    return fmt::format("the system says: {}", system->code().message());
  if (dynamic_cast<const std::bad_alloc*>(&error)) return "not enough memory";
  if (dynamic_cast<const Error*>(&error)) return error.what();
  return fmt::format("a fault of the program itself ({}); please report it, with the command",
                     error.what());
}

}  // namespace mmrec
