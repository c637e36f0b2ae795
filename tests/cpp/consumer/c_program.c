/* glesam.h is C. */
#include <glesam/glesam.h>

int c_program_refuses_null(void) {
    glesam_bundle* bundle = NULL;
    return glesam_bundle_open(NULL, &bundle) == GLESAM_ARGUMENT_ERROR;
}
