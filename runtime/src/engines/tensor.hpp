// Inputs and outputs of graphs: their address and their shape.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>

namespace glesam::core {

/// Sizes of a tensor of rank 4 at most, without heap memory.
struct Shape {
    std::array<std::int64_t, 4> sizes{};
    std::size_t rank = 0;

    Shape() = default;
    Shape(std::initializer_list<std::int64_t> values) : rank(values.size()) {
        std::copy(values.begin(), values.end(), sizes.begin());
    }

    std::size_t elements() const {
        std::size_t count = 1;
        for (std::size_t i = 0; i < rank; ++i) count *= static_cast<std::size_t>(sizes[i]);
        return count;
    }
};

/// float32 or int32 values, as the spec says, in memory that the tensor does not own.
struct Tensor {
    const void* data = nullptr;
    Shape shape;
    bool on_device = false;  // then only a DeviceMemory and its engines' requests may read `data`
    void* stream = nullptr;  // on a device: the values are valid once its queued work is done

    const float* floats() const { return static_cast<const float*>(data); }
    std::size_t bytes() const { return 4 * shape.elements(); }
};

}  // namespace glesam::core
