#include "backends.hpp"

#include <algorithm>
#include <vector>

#include "text.hpp"
#ifdef GLESAM_HAS_OPENVINO
#include "engine_openvino.hpp"
#endif

namespace glesam::core {

namespace {

using Open = std::shared_ptr<const Engine> (*)(const std::filesystem::path&, const GraphSpec&, const std::string&);

struct Backend {
    std::string name;
    Open open;
};

/// In the order in which "auto" prefers them.
std::vector<Backend> backends() {
    return {
#ifdef GLESAM_HAS_OPENVINO
        {"openvino", open_openvino},
#endif
    };
}

/// Every backend this project names, whether this build has it or not.
bool is_known(const std::string& name) {
    const std::vector<std::string> known = {"onnxruntime", "openvino", "tensorrt", "tensorrt-rtx"};
    return std::find(known.begin(), known.end(), name) != known.end();
}

Error not_here(const std::string& name, const std::vector<Backend>& built) {
    const std::string problem = is_known(name) ? "is not in this build" : "is unknown";
    std::vector<std::string> names;
    for (const Backend& backend : built) names.push_back(backend.name);
    return backend_error("backend " + repr(name) + " " + problem + "; choose auto or " + joined(names, " or "));
}

Backend picked(const std::string& name) {
    const std::vector<Backend> built = backends();
    if (built.empty()) {
        throw backend_error(
            "backend " + repr(name) +
            ": this libglesam was built without any; "
            "install OpenVINO (pip install openvino) and build it again with -DGLESAM_WITH_OPENVINO=ON");
    }
    if (name == "auto") return built.front();
    const auto found = std::find_if(built.begin(), built.end(), [&](const Backend& each) { return each.name == name; });
    if (found == built.end()) throw not_here(name, built);
    return *found;
}

}  // namespace

Engines open_engines(const std::string& backend, const Bundle& bundle, bool enhance) {
    const Backend chosen = picked(backend);
    const auto open = [&](const std::string& name) {
        const Graph& graph = bundle.manifest.graphs.at(name);
        return chosen.open(bundle.graph_path(name), graph.spec, graph.precision);
    };
    return {open("image_encoder"), enhance ? open("gle") : nullptr, open("mask_decoder")};
}

}  // namespace glesam::core
