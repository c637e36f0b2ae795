#include "outcome.hpp"

#include <exception>

#include "error.hpp"

namespace glesam_ros {

namespace {

FailureKind kind_of(glesam_status status) {
    return status == GLESAM_IMAGE_ERROR || status == GLESAM_PROMPT_ERROR ? FailureKind::refused : FailureKind::failed;
}

}  // namespace

Failure caught_failure() {
    try {
        throw;
    } catch (const InputError& error) {
        return {FailureKind::refused, error.what()};
    } catch (const glesam::Error& error) {
        return {kind_of(error.status()), error.what()};
    } catch (const std::exception& error) {
        return {FailureKind::failed, error.what()};
    } catch (...) {
        return {FailureKind::failed, "unknown exception"};
    }
}

}  // namespace glesam_ros
