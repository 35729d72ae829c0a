// Everything. One header for each subject stands beside this one.
#pragma once

#include "fiber/cancelled.hpp"
#include "fiber/error.hpp"
#include "fiber/future.hpp"
#include "fiber/gather.hpp"
#include "fiber/introspect.hpp"
#include "fiber/offload.hpp"
#include "fiber/outcome.hpp"
#include "fiber/run.hpp"
#include "fiber/sleep.hpp"
#include "fiber/task.hpp"
#include "fiber/this_fiber.hpp"
#include "fiber/unretrieved.hpp"
