#include "train/search/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "model/config.h"
#include "model/config_file.h"
#include "support/checksum.h"
#include "support/names.h"
#include "train/run/options_file.h"

namespace mmrec {

namespace {

namespace fs = std::filesystem;

bool is_field(const std::string& name) { return to_json(Config{}).contains(name); }

}  // namespace

std::string describe(const Settings& settings) {
  std::string text;
  for (const auto& [name, value] : settings)
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", name, value);
  return text;
}

nlohmann::ordered_json to_json(const Settings& settings) {
  nlohmann::ordered_json object = nlohmann::ordered_json::object();
  for (const auto& [name, value] : settings) object[name] = text_of_name(value);
  return object;
}

std::string folder_name(const Settings& settings) {
  constexpr size_t kLongest = 100;
  const std::string text = describe(settings);
  std::string name;
  for (const char c : text) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) ||
                       std::string_view("=._+-").find(c) != std::string_view::npos;
    name += c == ' ' ? ',' : plain ? c : '_';
  }
  if (name.empty()) return "defaults";
  if (name.size() <= kLongest && std::ranges::count(name, '_') == std::ranges::count(text, '_'))
    return name;
  return fmt::format("{}-{:08x}", name.substr(0, kLongest), crc32_of(text));
}

std::vector<std::string> arguments(const Settings& settings) {
  std::vector<std::string> words;
  for (const auto& [name, value] : settings)
    words.push_back(is_field(name) ? fmt::format("--set={}={}", name, value)
                                   : fmt::format("--{}={}", name, value));
  return words;
}

std::string options_file(const std::string& about, const Settings& settings) {
  std::vector<FileOption> options;
  std::vector<std::string> fields;
  for (const auto& [name, value] : settings) {
    if (is_field(name))
      fields.push_back(name + "=" + value);
    else
      options.push_back({name, {value}});
  }
  if (!fields.empty()) options.push_back({"set", fields});
  return options_file_text(about, options);
}

bool has(const Settings& settings, std::string_view name) {
  return std::ranges::find(settings, name, &Settings::value_type::first) != settings.end();
}

bool is_preset(const std::string& config) { return std::ranges::count(preset_names(), config) > 0; }

Settings with_absolute_paths(Settings settings) {
  for (auto& [name, value] : settings)
    if ((name == "data" && value != "sample" && value != "-") || name == "init" ||
        (name == "config" && !is_preset(value)))
      value = fs::absolute(value).lexically_normal().string();
  return settings;
}

}  // namespace mmrec
