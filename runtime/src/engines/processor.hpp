// The abilities of the processor.
#pragma once

namespace glesam::core {

/// Whether int8 products can be summed here without loss: not on an x86 CPU without VNNI, or whose flags are unknown.
/// engines/host.py has the reason and the cost.
bool sums_int8_exactly();

}  // namespace glesam::core
