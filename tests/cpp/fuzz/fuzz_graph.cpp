// Fuzzes the walk over an ONNX graph. An input is an ONNX file, which is checked as each of the three graphs.
#include <algorithm>
#include <string_view>

#include "bundle/graph_rules.hpp"
#include "bundle/protobuf.hpp"
#include "fuzz.hpp"

using glesam_tests::must;

namespace {

bool is_one_line(std::string_view message) {
    return !message.empty() &&
           std::all_of(message.begin(), message.end(), [](char letter) { return letter >= ' ' && letter <= '~'; });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const auto contract = glesam::core::bundle_contract(64);
    const std::string_view input(reinterpret_cast<const char*>(data), size);
    int accepted = 0;
    for (const auto& spec : contract) {
        try {
            glesam::core::check_graph_file(input, spec, "graph.onnx", {{"graph.onnx.data", 1000}});
            ++accepted;
        } catch (const glesam::core::Damaged& error) {
            must(is_one_line(error.what()), "a refusal is one line of printable ASCII");
        }
    }
    must(accepted <= 1, "a file is at most one of the three graphs");
    return 0;
}
