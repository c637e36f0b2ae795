// TensorRT API 10.3 to 11.x, which only this folder includes; it does what engines/tensorrt/ does in Python.
#include "engines/open.hpp"

#include <algorithm>
#include <utility>

#include "engines/tensorrt/cache.hpp"
#include "engines/tensorrt/compiled.hpp"
#include "engines/tensorrt/cuda.hpp"
#include "engines/tensorrt/request.hpp"

namespace glesam::core {

namespace {

class TensorRtEngine : public Engine {
   public:
    explicit TensorRtEngine(std::shared_ptr<const Compiled> compiled) : compiled_(std::move(compiled)) {}

    const GraphSpec& spec() const override { return compiled_->spec; }

    std::unique_ptr<Request> new_request() const override { return std::make_unique<TensorRtRequest>(compiled_); }

    std::unique_ptr<DeviceMemory> new_device_memory() const override {
        return std::make_unique<CudaMemory>(compiled_->device);
    }

   private:
    std::shared_ptr<const Compiled> compiled_;
};

}  // namespace

std::shared_ptr<const Engine> open_tensorrt(const Bundle& bundle, const std::string& name) {
    const TensorRtVersion version = tensorrt_version();
    const EngineKey key = engine_key(version, bundle, name, current_gpu());
    const std::string plan = load_engine(key, build_command(bundle, key));
    return std::make_shared<TensorRtEngine>(
        deserialize(plan, bundle.manifest.graphs.at(name).spec, bundle.graph_path(name)));
}

std::optional<std::string> why_tensorrt(const Bundle& bundle) {
    const auto cached = cached_engines(bundle.hash);
    if (cached.empty()) return std::nullopt;  // without a single call to CUDA
    try {
        const TensorRtVersion version = tensorrt_version();
        const Gpu gpu = current_gpu();
        for (const auto& [name, graph] : bundle.manifest.graphs) {
            const auto path = engine_key(version, bundle, name, gpu).path();
            const auto is_it = [&](const EngineRecord& record) { return record.key.path() == path; };
            if (std::none_of(cached.begin(), cached.end(), is_it)) return std::nullopt;
        }
        return "auto: the bundle's engines for " + gpu.text() + " are cached";
    } catch (const Error&) {  // no GPU, no driver, another TensorRT
        return std::nullopt;
    }
}

}  // namespace glesam::core
