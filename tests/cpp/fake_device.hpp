// A strict fake device on the host: its addresses are invalid on the host, its streams run nothing until they are
// waited for, and it lists all copies and computations. Code that reads device memory directly crashes, and code that
// does not wait reads stale values.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "engines/device_memory.hpp"
#include "fake_engine.hpp"

namespace glesam_tests {

using glesam::core::backend_error;
using glesam::core::device_alignment;
using glesam::core::DeviceMemory;
using glesam::core::Pixels;

class FakeDevice {
   public:
    FakeDevice() { done_.reserve(1 << 14); }  // so that the list allocates nothing later

    /// Allocates `size` bytes of NaN, `beyond` bytes past a multiple of 256.
    void* allocate(std::size_t size, std::size_t beyond = 0) {
        const std::lock_guard<std::recursive_mutex> guard(lock_);
        ++allocations_;
        const std::uintptr_t address = next_ + beyond;
        next_ += (size / device_alignment + 3) * device_alignment;
        blocks_.emplace(address, std::vector<std::uint8_t>(size, 0xff));
        return reinterpret_cast<void*>(address);
    }

    void free(void* memory) {
        const std::lock_guard<std::recursive_mutex> guard(lock_);
        blocks_.erase(reinterpret_cast<std::uintptr_t>(memory));
    }

    long allocations() const { return allocations_; }

    /// The host bytes that stand for a device address.
    std::uint8_t* bytes_at(const void* address, std::size_t size) {
        const std::lock_guard<std::recursive_mutex> guard(lock_);
        const auto target = reinterpret_cast<std::uintptr_t>(address);
        auto block = blocks_.upper_bound(target);
        if (block == blocks_.begin()) throw backend_error("the fake device: an address of nobody's");
        --block;
        const std::size_t start = target - block->first;
        if (start + size > block->second.size()) throw backend_error("the fake device: beyond the end of its memory");
        return block->second.data() + start;
    }

    bool has(const void* address) {
        try {
            return bytes_at(address, 1) != nullptr;
        } catch (const glesam::core::Error&) {
            return false;
        }
    }

    /// Queues `work`, which runs when the stream is waited for.
    void queue(void* stream, std::function<void()> work) {
        const std::lock_guard<std::recursive_mutex> guard(lock_);
        streams_[stream].push_back(std::move(work));
    }

    void wait_for(void* stream) {
        const std::lock_guard<std::recursive_mutex> guard(lock_);
        const auto queue = streams_.find(stream);
        if (queue == streams_.end()) return;
        for (; !queue->second.empty(); queue->second.pop_front()) queue->second.front()();
    }

    /// Adds `work` to the list. Throws where fail() named it.
    void did(const char* what, const char* name = "") {
        const std::lock_guard<std::recursive_mutex> guard(lock_);
        if (!failing_.empty() && failing_ == std::string(what) + name) {
            throw backend_error("the fake device: " + std::exchange(failing_, "") + " failed");
        }
        done_.emplace_back(what, name);
    }

    /// Makes the next run of `work` fail.
    void fail(std::string work) { failing_ = std::move(work); }

    /// The work since the last call.
    std::vector<std::string> done() {
        std::vector<std::string> result;
        for (const auto& [what, name] : done_) result.push_back(std::string(what) + name);
        done_.clear();
        return result;
    }

   private:
    std::recursive_mutex lock_;
    std::uintptr_t next_ = std::uintptr_t{1} << 52U;  // outside the address space of programs on x86-64 and Arm
    std::map<std::uintptr_t, std::vector<std::uint8_t>> blocks_;
    std::map<void*, std::deque<std::function<void()>>> streams_;
    std::vector<std::pair<const char*, const char*>> done_;
    std::string failing_;
    long allocations_ = 0;
};

/// Memory of a FakeDevice; lists its copies as "copy" and "copy to host".
class FakeMemory : public DeviceMemory {
   public:
    explicit FakeMemory(std::shared_ptr<FakeDevice> device) : device_(std::move(device)) {}

    std::shared_ptr<void> allocate(std::size_t size) override {
        return {device_->allocate(size), [device = device_](void* memory) { device->free(memory); }};
    }

    std::shared_ptr<void> allocate_on_host(std::size_t size) override {
        const auto bytes = std::make_shared<std::vector<std::uint8_t>>(size);
        return {bytes, bytes->data()};
    }

    void check(const char* name, const void* data) const override {
        if (!device_->has(data)) throw backend_error(std::string(name) + ": the fake device does not reach it");
    }

    Tensor copy(void* target, const Tensor& source) override {
        device_->wait_for(source.stream);
        std::uint8_t* bytes = device_->bytes_at(target, source.bytes());
        std::memset(bytes, 0xff, source.bytes());  // the content after a failed copy
        device_->did("copy");
        std::memcpy(bytes, device_->bytes_at(source.data, source.bytes()), source.bytes());
        return {target, source.shape, true, this};
    }

    void copy_to_host(void* target, const Pixels& source, void* stream) override {
        device_->wait_for(stream);
        device_->did("copy to host");
        const auto row = static_cast<std::size_t>(source.width) * static_cast<std::size_t>(source.step);
        for (int y = 0; y < source.height; ++y) {
            const std::uint8_t* pixels = source.data + y * source.stride;
            std::memcpy(static_cast<std::uint8_t*>(target) + static_cast<std::size_t>(y) * row,
                        device_->bytes_at(pixels, row), row);
        }
    }

   private:
    std::shared_ptr<FakeDevice> device_;
};

/// A FakeRequest on the device; lists "to device NAME", "run GRAPH" and "to host NAME".
class DeviceRequest : public Request {
   public:
    DeviceRequest(std::shared_ptr<FakeDevice> device, const GraphSpec& spec)
        : device_(std::move(device)), spec_(spec), request_(spec), memory_(device_), left_(spec.outputs.size()) {}

    void run(const Tensor* inputs, Tensor* outputs) override {
        compute(inputs, outputs);
        for (const auto& output : spec_.outputs) device_->did("to host ", output.name.c_str());
    }

    void run_on_device(const Tensor* inputs, Tensor* outputs) override {
        compute(inputs, outputs);
        for (std::size_t i = 0; i < left_.size(); ++i) {
            const std::size_t size = outputs[i].bytes();
            if (size > left_[i].second) left_[i] = {memory_.allocate(size), size};
            std::memcpy(device_->bytes_at(left_[i].first.get(), size), outputs[i].data, size);
            outputs[i] = {left_[i].first.get(), outputs[i].shape, true, this};
        }
    }

   private:
    void compute(const Tensor* inputs, Tensor* outputs) {
        std::array<Tensor, 7> readable;
        for (std::size_t i = 0; i < spec_.inputs.size(); ++i)
            readable.at(i) = readable_copy(inputs[i], spec_.inputs[i].name);
        device_->did("run ", spec_.name.c_str());
        for (std::size_t i = 0; i < spec_.outputs.size(); ++i) outputs[i] = {};
        request_.run(readable.data(), outputs);
    }

    Tensor readable_copy(const Tensor& tensor, const std::string& name) {
        if (!tensor.on_device) {
            device_->did("to device ", name.c_str());
            return tensor;
        }
        if (reinterpret_cast<std::uintptr_t>(tensor.data) % device_alignment != 0) {
            throw backend_error("the fake device: an address that its kernels do not take");
        }
        device_->wait_for(tensor.stream);
        return {device_->bytes_at(tensor.data, tensor.bytes()), tensor.shape};
    }

    std::shared_ptr<FakeDevice> device_;
    const GraphSpec& spec_;
    FakeRequest request_;
    FakeMemory memory_;
    std::vector<std::pair<std::shared_ptr<void>, std::size_t>> left_;
};

class DeviceEngine : public Engine {
   public:
    DeviceEngine(std::shared_ptr<FakeDevice> device, GraphSpec spec)
        : device_(std::move(device)), spec_(std::move(spec)) {}

    const GraphSpec& spec() const override { return spec_; }
    std::unique_ptr<Request> new_request() const override { return std::make_unique<DeviceRequest>(device_, spec_); }
    std::unique_ptr<DeviceMemory> new_device_memory() const override { return std::make_unique<FakeMemory>(device_); }

   private:
    std::shared_ptr<FakeDevice> device_;
    GraphSpec spec_;
};

/// fake_model() on a device, with the same results.
inline std::shared_ptr<const glesam::core::Model> device_model(const std::shared_ptr<FakeDevice>& device,
                                                               glesam::core::Family family = glesam::core::Family::sam,
                                                               bool levels = false) {
    glesam::core::Model model = *fake_model(family, levels);
    for (auto* engine : {&model.engines.image_encoder, &model.engines.gle, &model.engines.mask_decoder}) {
        *engine = std::make_shared<DeviceEngine>(device, (*engine)->spec());
    }
    return std::make_shared<const glesam::core::Model>(std::move(model));
}

}  // namespace glesam_tests
