#include "backends.hpp"

#include <algorithm>
#include <vector>

#ifdef GLESAM_HAS_OPENVINO
#include "engine_openvino.hpp"
#endif
#ifdef GLESAM_HAS_ONNXRUNTIME
#include "engine_onnxruntime.hpp"
#endif

namespace glesam::core {

namespace {

using Open = std::shared_ptr<const Engine> (*)(const Bundle&, const Graph&);

struct Backend {
    std::string name;
    Open open;
};

std::vector<Backend> backends() {
    return {
#ifdef GLESAM_HAS_OPENVINO
        {"openvino",
         [](const Bundle& bundle, const Graph& graph) {
             return open_openvino(bundle.root / graph.file, graph.spec, graph.precision);
         }},
#endif
#ifdef GLESAM_HAS_ONNXRUNTIME
        {"onnxruntime",
         [](const Bundle& bundle, const Graph& graph) {
             return open_onnxruntime(bundle.root / graph.file, graph.spec, onnxruntime_computes_int8(graph.precision));
         }},
#endif
    };
}

std::vector<std::string> names_of(const std::vector<Backend>& built) {
    std::vector<std::string> names;
    for (const Backend& backend : built) names.push_back(backend.name);
    return names;
}

}  // namespace

Choice choose_backend(const std::string& backend, const Bundle& bundle) {
    return pick_backend(backend, bundle.manifest.precision, names_of(backends()));
}

Engines open_engines(const std::string& backend, const Bundle& bundle, bool enhance) {
    const std::vector<Backend> built = backends();
    choose_backend(backend, bundle);  // refuses what does not suit the bundle as a whole
    const auto open = [&](const std::string& name) {
        const Graph& graph = bundle.manifest.graphs.at(name);
        // "auto" picks for each graph: the fp32 decoder of a bf16 bundle runs in onnxruntime, beside openvino.
        const std::string chosen = pick_backend(backend, graph.precision, names_of(built)).backend;
        const auto row =
            std::find_if(built.begin(), built.end(), [&](const auto& each) { return each.name == chosen; });
        return row->open(bundle, graph);
    };
    return {open("image_encoder"), enhance ? open("gle") : nullptr, open("mask_decoder")};
}

}  // namespace glesam::core
