#pragma once

#include <nanobind/nanobind.h>

namespace mmrec::python {

/// Each adds its part to the module.
void bind_ops(nanobind::module_& module);
void bind_tokenizer(nanobind::module_& module);
void bind_model(nanobind::module_& module);
void bind_trainer(nanobind::module_& module);

}  // namespace mmrec::python
