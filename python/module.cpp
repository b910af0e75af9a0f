#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <regex>
#include <string>
#include <system_error>

#include "python/bindings.h"
#include "python/computing.h"
#include "runtime/kernel_registry.h"
#include "runtime/machine.h"
#include "support/exceptions.h"
#include "train/library/runtime.h"

namespace mmrec::python {

namespace {

/// Returns a message in Python's words: val_split, where the programs say --val-split, and config,
/// which has the fields of --set.
std::string in_python_words(const std::string& message) {
  std::string words;
  size_t end = 0;
  static const std::regex option("--([a-z][a-z0-9-]*)");
  for (std::sregex_iterator match(message.begin(), message.end(), option), none; match != none;
       ++match) {
    words.append(message, end, static_cast<size_t>(match->position()) - end);
    std::string name = (*match)[1];
    std::ranges::replace(name, '-', '_');
    words += name == "set" ? "config" : name;
    end = static_cast<size_t>(match->position() + match->length());
  }
  return words + message.substr(end);
}

/// Adds an exception to the module.
nb::object new_exception(nb::module_& module, const char* name, const char* doc, nb::handle base) {
  const std::string qualified = std::string("mmrec.") + name;
  nb::object type =
      nb::steal(PyErr_NewExceptionWithDoc(qualified.c_str(), doc, base.ptr(), nullptr));
  module.attr(name) = type;
  return type;
}

PyObject *error_type, *usage_error_type;  // the module owns them, and it is never unloaded

void translate(const std::exception_ptr& exception, void*) {
  try {
    std::rethrow_exception(exception);
  } catch (const UsageError& error) {
    PyErr_SetString(usage_error_type, in_python_words(error.what()).c_str());
  } catch (const Error& error) {
    PyErr_SetString(error_type, in_python_words(error.what()).c_str());
  } catch (const std::system_error& error) {
    PyErr_SetString(error_type, in_words(error).c_str());
  }
}

}  // namespace

NB_MODULE(_native, module) {
  check_kernels();  // if the CPU lacks what they need, the import says so
  nb::set_leak_warnings(false);  // an interpreter that ends leaves objects alive
  const nb::object error = new_exception(
      module, "Error", "What failed, where, and what to do.", PyExc_RuntimeError);
  error_type = error.ptr();
  usage_error_type =
      new_exception(module, "UsageError", "A call asked for something impossible.",
                    nb::make_tuple(error, nb::handle(PyExc_ValueError)))
          .ptr();
  nb::register_exception_translator(translate);

  module.attr("version") = mmrec_version();
  module.def(
      "machine", [] { return describe_machine(num_threads()); },
      "Describes CPU, threads and kernels.");
  module.def("num_threads", &num_threads, "Returns how many threads compute.");
  module.def(
      "set_num_threads",
      [](int threads) {
        nb::gil_scoped_release others_run;
        const std::unique_lock lock(threads_mutex());
        set_num_threads(threads);
      },
      nb::arg("threads"), "Sets how many threads compute; waits for the end of what computes now.");
  bind_ops(module);
  bind_tokenizer(module);
  bind_model(module);
  bind_trainer(module);
}

}  // namespace mmrec::python
