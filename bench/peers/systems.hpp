// All systems of this build. Each is a struct of static members with the same names, so that a case is written once:
//   name, available, configuration()
//   run(workers, f)         f, on that many workers and as many CPUs; run(workers, f, cpus) where these differ
//   spawn(f) -> handle      handle.get() waits for f; only threads have no result
//   yield(), sleep_for(d), promise<T>, future<T>, mutex, channel<T>{capacity} with push/pop/close
// A system that cannot do something lacks the name, and the case does not list it.
#pragma once

#include "bench/peers/boost_fibers.hpp"
#include "bench/peers/fibers.hpp"
#include "bench/peers/raw_switch.hpp"
#include "bench/peers/tbb_tasks.hpp"
#include "bench/peers/threads.hpp"
