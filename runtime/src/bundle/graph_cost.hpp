// What a graph costs, found by its shapes alone: one that no bundle's engine has to bear never reaches it.
//
// Engines compute what follows from constants alone when a graph is loaded; the rest when it is called.
// glesam_runtime/bundle/graph_cost.py does the same, in the same order and the same words.
#pragma once

#include "bundle/onnx_messages.hpp"
#include "bundle/spec.hpp"

namespace glesam::core {

/// Checks a graph whose nodes are in order and have known operators. Throws Damaged where a shape does not follow from
/// the inputs', where the outputs' are not those of `spec`, or where the graph costs more than any bundle's.
void check_cost(const onnx::Model& model, const GraphSpec& spec);

}  // namespace glesam::core
