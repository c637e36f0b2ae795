// Sizes of tensors as formulas in the numbers of prompts and of points.
//
// A decoder's inputs leave both numbers open, so the sizes inside it are formulas. Those of our graphs are products of
// sums, such as 8 * N * (7 + P); another formula is Unclear. glesam_runtime/bundle/sizes.py does the same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <vector>

namespace glesam::core {

/// Numbers of prompts, and of points of each, that a graph's cost is measured at.
constexpr std::int64_t measured_prompts = 64;
constexpr std::int64_t measured_points = 16;

/// Most axes of a tensor.
constexpr std::size_t most_axes = 8;
/// Stands for every count above it.
constexpr std::int64_t endless = std::int64_t{1} << 60U;

/// A shape that does not follow from those of the inputs, or a formula of another form.
class Unclear : public std::exception {};

/// Throws Unclear where the condition does not hold.
inline void require(bool condition) {
    if (!condition) throw Unclear();
}

/// constant + slope * number, with a number of prompts or of points.
struct Sum {
    std::int64_t constant = 1;
    std::int64_t slope = 0;

    bool is_one() const { return constant == 1 && slope == 0; }
    bool operator==(const Sum& other) const { return constant == other.constant && slope == other.slope; }
};

/// factor * prompts * points, where both are sums without a common divisor.
///
/// Unless it is a plain number, the factor is positive and no other number is negative.
struct Size {
    std::int64_t factor = 1;
    Sum prompts = {};
    Sum points = {};

    bool is_number() const { return prompts.is_one() && points.is_one(); }

    /// A plain number. Throws Unclear where it is none.
    std::int64_t number() const;

    /// The size at measured_prompts and measured_points. Throws Unclear where it is negative.
    std::int64_t count() const;

    bool operator==(const Size& other) const {
        return factor == other.factor && prompts == other.prompts && points == other.points;
    }
    bool operator!=(const Size& other) const { return !(*this == other); }
};

Size operator+(const Size& one, const Size& other);
Size operator*(const Size& one, const Size& other);

/// The quotient. Throws Unclear where there is a remainder.
Size operator/(const Size& one, const Size& other);

using Shape = std::vector<Size>;

/// The product of counts, at most `endless`.
std::int64_t product(const std::vector<std::int64_t>& counts);

/// The number of elements of a tensor at measured_prompts and measured_points.
std::int64_t elements(const Shape& shape);

/// The product of sizes as a formula.
Size product_of(const Shape& shape);

}  // namespace glesam::core
