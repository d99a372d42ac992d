/* a2d.h by itself: it needs nothing before it, and its initializers initialize everything. */
#include <a2d.h>

a2d_request request = A2D_REQUEST_INIT;
a2d_open_options options = A2D_OPEN_OPTIONS_INIT;
a2d_info info = A2D_INFO_INIT;
a2d_step step = A2D_STEP_INIT;
a2d_result result = A2D_RESULT_INIT;
a2d_error error = A2D_ERROR_INIT;
