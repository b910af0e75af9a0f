#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

#include <string>
#include <string_view>
#include <vector>

#include "python/array.h"
#include "python/bindings.h"
#include "python/computing.h"
#include "train/library/train.h"

namespace mmrec::python {

namespace {

Tokenizer make(const std::string& kind, std::string_view text, int limit) {
  const TokenKind chosen = parse_token_kind(kind);
  return compute([&](const std::atomic<int>& asked) {
    const Interruptible interruptible(asked);
    CharacterCounts counts;
    count_characters(text, "the text", counts);
    return make_tokenizer(
        chosen, counts, [&](const auto& visit) { visit(text); }, std::ssize(text), limit,
        check_interruption);
  });
}

/// Returns the ids as the bytes of an array of int32.
nb::bytes encode(const Tokenizer& tokenizer, std::string_view text) {
  const std::vector<int32_t> ids = compute(
      [&](const std::atomic<int>&) { return tokenizer.encode(text, "the text"); });
  return nb::bytes(ids.data(), ids.size() * sizeof(int32_t));
}

nb::bytes decode(const Tokenizer& tokenizer, nb::handle ids) {
  const Array<int32_t> of("ids", ids);
  tokenizer.check(of.elements());
  const std::string text = tokenizer.decode(of.elements());
  return nb::bytes(text.data(), text.size());
}

}  // namespace

void bind_tokenizer(nb::module_& module) {
  using nb::arg;
  nb::class_<Tokenizer>(module, "Tokenizer")
      .def_static("make", &make, arg("kind"), arg("text"), arg("limit"))
      .def_static(
          "load", [](const std::string& path) { return Tokenizer::load(path); }, arg("path"))
      .def(
          "save", [](const Tokenizer& tokenizer, const std::string& path) { tokenizer.save(path); },
          arg("path"))
      .def_prop_ro("kind", [](const Tokenizer& tokenizer) { return name_of(tokenizer.kind()); })
      .def_prop_ro("size", &Tokenizer::size)
      .def("encode", &encode, arg("text"))
      .def("decode", &decode, arg("ids"))
      .def("__eq__", [](const Tokenizer& a, const Tokenizer& b) { return a == b; });
}

}  // namespace mmrec::python
