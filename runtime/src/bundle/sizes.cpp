#include "bundle/sizes.hpp"

#include <numeric>

namespace glesam::core {

namespace {

/// Largest number in a formula that is computed with: sums of two products are below 2^62.
constexpr std::int64_t largest = std::int64_t{1} << 30U;

bool is_small(std::int64_t number) { return -largest <= number && number <= largest; }

void require_small(const Size& size) {
    require(is_small(size.factor));
    for (const Sum& each : {size.prompts, size.points}) require(is_small(each.constant) && is_small(each.slope));
}

Size made(std::int64_t factor, const Sum& prompts, const Sum& points) {
    if (factor == 0) return {0, {}, {}};
    const Size size = {factor, prompts, points};
    require(factor > 0 || size.is_number());
    return size;
}

struct Scaled {
    std::int64_t factor;
    Sum sum;
};

/// one.factor * one.sum + other.factor * other.sum.
Scaled added(const Scaled& one, const Scaled& other) {
    const std::int64_t constant = one.factor * one.sum.constant + other.factor * other.sum.constant;
    const std::int64_t slope = one.factor * one.sum.slope + other.factor * other.sum.slope;
    if (slope == 0) return {constant, {}};
    require(constant >= 0 && slope > 0);
    const std::int64_t divisor = std::gcd(constant, slope);
    return {divisor, {constant / divisor, slope / divisor}};
}

}  // namespace

std::int64_t Size::number() const {
    require(is_number());
    return factor;
}

std::int64_t Size::count() const {
    require_small(*this);
    require(factor >= 0);
    return product({factor, prompts.constant + prompts.slope * measured_prompts,
                    points.constant + points.slope * measured_points});
}

Size operator+(const Size& one, const Size& other) {
    require_small(one);
    require_small(other);
    if (one.factor == 0 || other.factor == 0) return one.factor == 0 ? other : one;
    if (one.prompts == other.prompts) {
        const auto [factor, points] = added({one.factor, one.points}, {other.factor, other.points});
        return made(factor, one.prompts, points);
    }
    require(one.points == other.points);
    const auto [factor, prompts] = added({one.factor, one.prompts}, {other.factor, other.prompts});
    return made(factor, prompts, one.points);
}

Size operator*(const Size& one, const Size& other) {
    require_small(one);
    require_small(other);
    require((one.prompts.is_one() || other.prompts.is_one()) && (one.points.is_one() || other.points.is_one()));
    return made(one.factor * other.factor, one.prompts.is_one() ? other.prompts : one.prompts,
                one.points.is_one() ? other.points : one.points);
}

Size operator/(const Size& one, const Size& other) {
    require_small(one);
    require_small(other);
    require(other.factor > 0 && one.factor % other.factor == 0);
    require(other.prompts.is_one() || other.prompts == one.prompts);
    require(other.points.is_one() || other.points == one.points);
    return made(one.factor / other.factor, other.prompts.is_one() ? one.prompts : Sum(),
                other.points.is_one() ? one.points : Sum());
}

std::int64_t product(const std::vector<std::int64_t>& counts) {
    std::int64_t result = 1;
    for (const std::int64_t each : counts) {
        if (each != 0 && result > endless / each) {
            result = endless;
        } else {
            result *= each;
        }
    }
    return result;
}

std::int64_t elements(const Shape& shape) {
    std::vector<std::int64_t> counts;
    counts.reserve(shape.size());
    for (const Size& size : shape) counts.push_back(size.count());
    return product(counts);
}

Size product_of(const Shape& shape) {
    return std::accumulate(shape.begin(), shape.end(), Size{},
                           [](const Size& one, const Size& other) { return one * other; });
}

}  // namespace glesam::core
