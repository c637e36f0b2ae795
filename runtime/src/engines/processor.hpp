// What the processor can do.
#pragma once

namespace glesam::core {

/// Whether int8 products can be summed here without loss: not on an x86 CPU without VNNI, or where none is told.
/// machine.py has the reason and what it costs.
bool sums_int8_exactly();

}  // namespace glesam::core
