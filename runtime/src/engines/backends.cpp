#include "engines/backends.hpp"

#include <algorithm>
#include <vector>

#include "common/error.hpp"
#include "common/text.hpp"
#include "engines/cpus.hpp"
#include "engines/open.hpp"

namespace glesam::core {

namespace {

using Open = std::shared_ptr<const Engine> (*)(const Bundle&, const std::string& graph_name, int threads);

struct Backend {
    std::string name;
    Open open;
};

std::vector<Backend> backends() {
    return {
#ifdef GLESAM_HAS_OPENVINO
        {"openvino",
         [](const Bundle& bundle, const std::string& name, int threads) {
             const Graph& graph = bundle.manifest.graphs.at(name);
             return open_openvino(bundle.graph_content(name), graph.spec, graph.precision, threads);
         }},
#endif
#ifdef GLESAM_HAS_ONNXRUNTIME
        {"onnxruntime",
         [](const Bundle& bundle, const std::string& name, int threads) {
             const Graph& graph = bundle.manifest.graphs.at(name);
             const bool int8 = onnxruntime_computes_int8(graph.precision);
             return open_onnxruntime(bundle.graph_content(name), graph.spec, int8, threads);
         }},
#endif
#ifdef GLESAM_HAS_TENSORRT
        {"tensorrt", [](const Bundle& bundle, const std::string& name, int) { return open_tensorrt(bundle, name); }},
#endif
    };
}

std::vector<std::string> names_of(const std::vector<Backend>& built) {
    std::vector<std::string> names;
    for (const Backend& backend : built) names.push_back(backend.name);
    return names;
}

/// The backend of one graph, and why: its precision counts, and what its int8 was made for.
Choice pick_for_graph(const std::string& backend, const Bundle& bundle, const std::string& name,
                      const std::vector<std::string>& built) {
    const Graph& graph = bundle.manifest.graphs.at(name);
    return pick_backend(backend, graph.precision, built, graph.int8_target);
}

}  // namespace

Choice choose_backend(const std::string& backend, const Bundle& bundle) {
#ifdef GLESAM_HAS_TENSORRT
    if (backend == "auto") {
        if (const auto why = why_tensorrt(bundle)) return {"tensorrt", *why};
    }
#endif
    // Graphs may differ (open_engines): the bundle's backend is the image encoder's, which is most of the work.
    return pick_for_graph(backend, bundle, "image_encoder", names_of(backends()));
}

Engines open_engines(const std::string& backend, const Bundle& bundle, bool enhance, int threads) {
    check_threads(threads);
    if (bundle.manifest.needs_gle() && !enhance) {
        throw backend_error("model " + repr(bundle.manifest.name) +
                            ": its decoder reads the features that graph gle restores, so it does not run without; "
                            "open it with enhance, or run the command without --no-enhance");
    }
    const std::vector<Backend> built = backends();
    const bool tensorrt = choose_backend(backend, bundle).backend == "tensorrt";
    const auto open = [&](const std::string& name) {
        // "auto" picks for each graph: the fp32 decoder of a bf16 bundle runs in onnxruntime, beside openvino.
        const Choice choice = pick_for_graph(backend, bundle, name, names_of(built));
        const std::string chosen = tensorrt ? "tensorrt" : choice.backend;
        const auto row =
            std::find_if(built.begin(), built.end(), [&](const auto& each) { return each.name == chosen; });
        return row->open(bundle, name, threads);
    };
    return {open("image_encoder"), enhance ? open("gle") : nullptr, open("mask_decoder")};
}

}  // namespace glesam::core
