#include "engines/device_store.hpp"

#include <utility>

namespace glesam::core {

Pixels DeviceStore::on_host(const Pixels& picture, void* stream) {
    memory_->check("image", picture.data);
    const std::ptrdiff_t row = std::ptrdiff_t{picture.width} * picture.step;
    const std::size_t size = static_cast<std::size_t>(row) * static_cast<std::size_t>(picture.height);
    if (picture_.size < size) picture_ = {memory_->allocate_on_host(size), size};
    memory_->copy_to_host(picture_.memory.get(), picture, stream);
    Pixels result = picture;
    result.data = static_cast<const std::uint8_t*>(picture_.memory.get());
    result.stride = row;
    return result;
}

float DeviceStore::first(const Tensor& tensor) {
    if (number_.size == 0) number_ = {memory_->allocate_on_host(sizeof(float)), sizeof(float)};
    constexpr int bytes = sizeof(float);  // copied as a row of pixels of one byte
    const Pixels row{static_cast<const std::uint8_t*>(tensor.data), bytes, 1, bytes, 1, {}};
    memory_->copy_to_host(number_.memory.get(), row, tensor.stream);
    return *static_cast<const float*>(number_.memory.get());
}

Tensor DeviceStore::aligned(const char* name, const Tensor& tensor) {
    memory_->check(name, tensor.data);
    const bool is_aligned = reinterpret_cast<std::uintptr_t>(tensor.data) % device_alignment == 0;
    return is_aligned ? tensor : copy(aligned_, tensor);
}

void DeviceStore::keep(Tensor* tensors, std::size_t count) {
    kept_[0].resize(count);
    for (std::size_t i = 0; i < count; ++i) tensors[i] = copy(kept_[0][i], tensors[i]);
    std::swap(kept_[0], kept_[1]);
}

Tensor DeviceStore::copy(Buffer& buffer, const Tensor& tensor) {
    if (buffer.size < tensor.bytes()) buffer = {memory_->allocate(tensor.bytes()), tensor.bytes()};
    return memory_->copy(buffer.memory.get(), tensor);
}

}  // namespace glesam::core
