#!/usr/bin/env python3
"""Breaks the protocols of waiting one place at a time, and sees that the model checker finds each.

Works on a copy of the tree, with its uncommitted changes. Takes some six seconds of CPU for each,
so it is run by hand, when a protocol or its model has changed.
Usage: mutations.py [part of a file's or a mutation's name]...
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# file, what is wrong then, text, replacement
MUTATIONS = [
    ("scheduler/core/wait.hpp", "who gave up stays in the queue",
     "if (self.linked()) self.unlink();", ""),
    ("scheduler/core/wait.hpp", "who gave up leaves the queue without the lock",
     "lock.lock();\n            if (self.linked()) self.unlink();\n            lock.unlock();",
     "if (self.linked()) self.unlink();"),
    ("scheduler/core/wait.hpp", "unlocks before it stands in the queue",
     "waiters_.push_back(self);\n        lock.unlock();", "lock.unlock();\n        waiters_.push_back(self);"),
    ("scheduler/core/wait.hpp", "the first who cannot be claimed ends the search",
     "while (waiter* first = first_locked()) {", "if (waiter* first = first_locked()) {"),
    ("scheduler/core/wait.hpp", "the next link is read after complete()",
     "next = claimed.next_to_wake_;  // before complete(): afterwards the waiter may be gone\n            claimed.complete();",
     "claimed.complete();\n            next = claimed.next_to_wake_;"),
    ("scheduler/core/park.cpp", "a timer outlives its wait",
     "if (reason != wake_reason::timed_out) timer_queue::cancel(limit);", ""),
    ("scheduler/core/park.cpp", "a thread is not woken",
     "futex_wake(state->futex_word(), 1);", ""),
    ("scheduler/core/park.cpp", "a time-out goes on without a claim",
     "futex_verdict::timed_out &&\n                claim(wake_reason::timed_out)", "futex_verdict::timed_out && (claim(wake_reason::timed_out), true)"),
    ("scheduler/core/park.cpp", "the frame is read after complete()",
     "if (state_->complete(verdict_) == complete_verdict::enqueue) make_runnable(task);",
     "if (state_->complete(verdict_) == complete_verdict::enqueue && verdict_ != claim_verdict::lost) make_runnable(task);\n        else (void)static_cast<claim_verdict>(verdict_);"),
    ("scheduler/park/park_state.hpp", "a second claim wins, too",
     "(seen & (waiting_bit | claimed)) == waiting_bit", "(seen & waiting_bit) == waiting_bit"),
    ("scheduler/core/lifecycle.hpp", "no second look for a cancellation after the commit",
     "(void)claim_parked_for_cancel(task, generation);", "static_cast<void>(generation);"),
    ("scheduler/core/cancel.cpp", "a cancellation does not claim the open wait",
     "if (claim_parked_for_cancel(*to.task, to.generation) || to.task->park.woken())", "if (to.task->park.woken())"),
    ("scheduler/io/readiness.hpp", "an edge that a lone waiter did not take is not set",
     "(what & ready(d)) && hand_out(d, claim) &&", "(what & ready(d)) && (hand_out(d, claim) || true) &&"),
    ("scheduler/io/readiness.hpp", "waits although an edge stands",
     "if (!(seen & (ready(d) | closed))) [[likely]] {", "if (!(seen & closed)) [[likely]] {"),
    ("scheduler/io/readiness.hpp", "the last who leaves does not give back",
     "return (left & closed) && left < one_user ?", "return (left & closed) && left == 0 ?"),
    ("scheduler/io/readiness.hpp", "who enters by waiting is not counted",
     "word_.unlock(seen + user);", "word_.unlock(seen);"),
    ("scheduler/core/edge_wait.hpp", "who gave up stays in the list",
     "state.withdraw(self);", "(void)self;"),
    ("scheduler/core/edge_wait.hpp", "of several who were woken one goes on without asking",
     "self.handed != nullptr || state.take(direction)", "self.handed != nullptr || !state.take(direction)"),
    ("fiber/detail/hand_over.cpp", "an entry stays in its list",
     "if (mine.linked()) mine.unlink();", ""),
    ("fiber/detail/hand_over.cpp", "close forgets those who push",
     "{&poppers_, &pushers_}", "{&poppers_}"),
    ("fiber/detail/hand_over.cpp", "close forgets those who pop",
     "{&poppers_, &pushers_}", "{&pushers_}"),
    ("fiber/detail/hand_over.cpp", "unlocks before the entry stands in its list",
     "list.push_back(mine);\n    lock_.unlock();", "lock_.unlock();\n    list.push_back(mine);"),
    ("fiber/detail/hand_over.cpp", "a time-out after the claim is believed",
     "if (reason == engine::wake_reason::notified) return mine.outcome;",
     "if (reason == engine::wake_reason::notified && deadline == engine::never) return mine.outcome;"),
    ("fiber/detail/hand_over.hpp", "entries are not claimed",
     "if (first->who->claim(engine::wake_reason::notified)) return first;", "return first;"),
    ("fiber/detail/hand_over.hpp", "the first entry that cannot be claimed ends the search",
     "while (hand_over_entry* first = entries_.pop_front()) {", "if (hand_over_entry* first = entries_.pop_front()) {"),
    ("fiber/detail/hand_over.hpp", "completes before it unlocks",
     "lock_->unlock();\n        woken.complete_all();", "woken.complete_all();\n        lock_->unlock();"),
    ("fiber/detail/hand_over.hpp", "a pop does not let the next push in",
     "if (!pushers_.empty()) refill(woken);", ""),
    ("fiber/detail/hand_over.hpp", "a push does not look for who pops",
     "if (!poppers_.empty() && hand_to_popper(item, woken)) return hand_over_verdict::done;", ""),
    ("fiber/detail/hand_over.hpp", "a pop does not look for who pushes",
     "if (!pushers_.empty() && take_from_pusher(into, woken)) return hand_over_verdict::done;", ""),
    ("fiber/detail/hand_over.hpp", "closed although items are left",
     "if (!store_.empty()) {\n            store_.pop_into(into);", "if (!closed_ && !store_.empty()) {\n            store_.pop_into(into);"),
    ("fiber/condition_variable.cpp", "the destructor does not wait",
     "if (returning_ == 0) return;\n", "return;\n"),
    ("fiber/condition_variable.cpp", "the destructor does not tell those who are leaving",
     "notify_all();  // nobody who has to be told, only those who have timed out and not left yet\n", ""),
    ("fiber/condition_variable.cpp", "who was cancelled keeps the notice",
     "if (!took_notice && told_ == notice::one) next = at.tell_one_locked();", ""),
    ("fiber/condition_variable.cpp", "a notice before the park is not noticed",
     "if (told_before) return true;", ""),
    ("fiber/condition_variable.cpp", "who returns is not counted",
     "++returning_;\n        if (!first->parking_) {", "if (!first->parking_) {"),
    ("fiber/condition_variable.cpp", "one who has given up ends the search",
     "while (visit* first = queue_.pop_front()) {\n        ++returning_;", "if (visit* first = queue_.pop_front()) {\n        ++returning_;"),
    ("fiber/condition_variable.cpp", "looks again when told by notify_all",
     "reason != engine::wake_reason::notified || told_ != notice::all", "true"),
    ("fiber/semaphore.cpp", "who was cancelled keeps the permit",
     "pass_on();\n                    throw;", "throw;"),
    ("fiber/semaphore.cpp", "a permit that is handed over stays as well",
     "const std::uint64_t left = state / one + static_cast<std::uint64_t>(permits);",
     "const std::uint64_t left = state / one + 1;"),
    ("fiber/semaphore.cpp", "who waits leaves no mark", "held.state |= waiting;", ""),
    ("fiber/semaphore.cpp", "the mark goes with the first who is served",
     "(waiters_.empty() ? 0 : waiting)", "0"),
    ("fiber/semaphore.cpp", "no second look under the lock",
     "if (held.state >= one || expired) {", "if (expired) {"),
    ("fiber/semaphore.cpp", "a time-out counts as a permit",
     "this_fiber::check_cancelled();\n                return false;",
     "this_fiber::check_cancelled();\n                return true;"),
    ("fiber/semaphore.cpp", "completes before it unlocks",
     "word_.unlock(left * one | (waiters_.empty() ? 0 : waiting));\n    served.complete_all();",
     "served.complete_all();\n    word_.unlock(left * one | (waiters_.empty() ? 0 : waiting));"),
    ("fiber/semaphore.cpp", "a permit that comes back goes above the maximum",
     "std::min<std::ptrdiff_t>(1, max_ - static_cast<std::ptrdiff_t>(state / one))",
     "std::max<std::ptrdiff_t>(1, max_ - static_cast<std::ptrdiff_t>(state / one))"),
    ("fiber/semaphore.hpp", "a release overlooks who waits", "while (seen % one == 0 && ", "while ("),
    ("fiber/event.cpp", "set() lets nobody go on",
     "if (word_.lock() == 0) waiters_.claim_all_locked(woken);", "(void)word_.lock();"),
    ("fiber/event.cpp", "set() lets one go on",
     "waiters_.claim_all_locked(woken);",
     "if (engine::waiter* one = waiters_.claim_first_locked()) woken.push_back(*one);"),
    ("fiber/event.cpp", "set() is seen before those who wait are claimed",
     "if (word_.lock() == 0) waiters_.claim_all_locked(woken);\n    word_.unlock(flag);",
     "const bool before = word_.lock() == 0;\n    word_.unlock(flag);\n    if (before) waiters_.claim_all_locked(woken);"),
    ("fiber/event.cpp", "completes before it unlocks",
     "word_.unlock(flag);\n    woken.complete_all();", "woken.complete_all();\n    word_.unlock(flag);"),
    ("fiber/event.cpp", "clear() does not ask for the lock", "(void)word_.lock();\n    word_.unlock(0);", "word_.unlock(0);"),
    ("fiber/detail/blocking.hpp", "no second look under the lock",
     "const bool over = is_over(held.state);", "const bool over = false;"),
    ("fiber/detail/blocking.hpp", "looks again when it was told",
     "if (verdict == engine::wait_verdict::notified) return true;",
     "if (verdict == engine::wait_verdict::notified && is_over(word.load())) return true;"),
    ("fiber/detail/blocking.hpp", "a cancelled wait goes on",
     "const auto verdict = waiters.wait_and_unlock(held, deadline, engine::interruptible::yes);",
     "const auto verdict = waiters.wait_and_unlock(held, deadline, engine::interruptible::no);"),
    ("fiber/select.cpp", "entries stay in their lists", "if (sorted[i]->entry.linked()) sorted[i]->entry.unlink();", ""),
    ("fiber/select.cpp", "entries are taken back without the lock",
     "const hand_over_section here(sorted[i]->core->lock());", ""),
    ("fiber/select.cpp", "the channel of the case that was taken is visited once more",
     "if (sorted[i] == taken) continue;", ""),
    ("fiber/select.cpp", "a second case is taken with the first",
     "if (each->outcome != hand_over_verdict::blocked) return each;",
     "if (each->outcome != hand_over_verdict::blocked) {\n"
     "            for (++i; i < count; ++i) (void)cases[i]->attempt_locked(*cases[i], woken);\n"
     "            return each;\n        }"),
    ("fiber/select.cpp", "the time has come although a case was claimed",
     "if (reason == engine::wake_reason::timed_out) return nullptr;",
     "if (reason == engine::wake_reason::timed_out || deadline != engine::never) return nullptr;"),
    ("fiber/select.cpp", "the case that was claimed is mistaken",
     "while (&(*cases)->entry != entry) ++cases;", "static_cast<void>(entry);"),
    ("fiber/select.cpp", "the channels are locked in the order of the call",
     "std::less<>()(cases[i]->core, sorted[at - 1]->core)", "false"),
    ("fiber/select.cpp", "one channel at a time is locked",
     "if (is_first(i)) cases[i]->core->lock().lock();",
     "if (i == 0) cases[i]->core->lock().lock();"),
    ("fiber/select.cpp", "completes before it unlocks",
     "    ~channel_locks() {\n", "    ~channel_locks() {\n        woken.complete_all();\n"),
    ("fiber/select.cpp", "only one case is tried",
     "const std::size_t first = random_below(count);  // so that no case is preferred",
     "const std::size_t first = random_below(count);\n    count = 1;"),
    ("fiber/detail/mutex_protocol.hpp", "who waits leaves no mark", "held.state |= contended;", ""),
    ("fiber/detail/mutex_protocol.hpp", "the mark goes with the first who is served",
     "engine::woken_by(tag, me) | (waiters.empty() ? 0 : contended)", "engine::woken_by(tag, me)"),
    ("fiber/detail/mutex_protocol.hpp", "free while it is handed over",
     "word.unlock(engine::woken_by(tag, me) | (waiters.empty() ? 0 : contended));", "word.unlock(0);"),
    ("fiber/detail/mutex_protocol.hpp", "no second look under the lock", "if (held.state == 0) {", "if (false) {"),
    ("scheduler/queue/injection_queue.hpp", "P1: the size may be seen late",
     "difference, std::memory_order_seq_cst);  // P1", "difference, std::memory_order_release);"),
    ("scheduler/queue/injection_queue.hpp", "the last link is left behind",
     "if (first_ == nullptr) last_ = nullptr;", ""),
    ("scheduler/queue/deque.hpp", "P2: the owner's look at top overtakes its claim",
     "bottom_.store(last, std::memory_order_seq_cst);          // P2", ""),
    ("scheduler/queue/deque.hpp", "P8: the owner learns of the raised border too late",
     "own_border_.store(border, std::memory_order_relaxed);\n            Barrier::heavy();",
     "Barrier::heavy();\n            own_border_.store(border, std::memory_order_relaxed);"),
    ("scheduler/queue/deque.hpp", "P9: the owner's look at top overtakes the lowered border",
     "thieves_border_.store(wanted, std::memory_order_seq_cst);",
     "thieves_border_.store(wanted, std::memory_order_release);"),
    ("scheduler/queue/deque.hpp", "P9: the lowered border forgets the thief that is under way",
     "top < wanted ? wanted : top + 1;", "wanted; static_cast<void>(top);"),
    ("scheduler/queue/deque.hpp", "P10: the owner does not say what it takes",
     "taking_.store(top + 1, std::memory_order_relaxed);", ""),
    ("scheduler/queue/deque.hpp", "P10: a thief does not look what the owner takes",
     "if (owner_takes) {", "if (owner_takes && before < 0) {"),
    ("scheduler/queue/deque.hpp", "thieves do not keep to the border",
     "return border < bottom ? border : bottom;", "return border < 0 ? border : bottom;"),
    ("scheduler/queue/deque.hpp", "thieves do not look at the bottom",
     "return border < bottom ? border : bottom;", "return bottom < 0 ? bottom : border;"),
    ("scheduler/queue/deque.hpp", "the border is raised by two at once",
     "if (bottom - top <= 1 || moving_.exchange(true, std::memory_order_acquire)) return;",
     "if (bottom - top <= 1) return;\n        static_cast<void>(moving_.exchange(true, std::memory_order_acquire));"),
    ("scheduler/park/idle_set.hpp", "P1: no barrier before the last look",
     "if (!lone_) Barrier::heavy();", ""),
    ("scheduler/park/idle_set.hpp", "P2: no barrier before the last searcher's look",
     "Barrier::heavy();  // P2", ""),
]

# Templates on their atomics are explored by a program of their own.
TEMPLATES = ("scheduler/queue/", "scheduler/park/idle_set.hpp", "fiber/detail/mutex_protocol.hpp")
PROGRAMS = ("tests/test_protocol", "tests/test_model")


def build_and_run(tree, program):
    """(built, passed, what it said first)"""
    build = subprocess.run(["ninja", "-C", "build", program], cwd=tree, capture_output=True, text=True)
    if build.returncode != 0:
        return False, False, build.stdout[-2000:]
    # Of the checker's own tests, those of what a piece lacks would fail as well: they expect one defect, not two.
    arguments = ["-aa=1"] + (["-ts=* model", "-tce=*lacks*,*without*"] if "protocol" in program else [])
    try:
        run = subprocess.run([f"build/{program}", *arguments], cwd=tree, capture_output=True, text=True, timeout=180,
                             errors="replace")
    except subprocess.TimeoutExpired:
        return True, False, "does not end"
    said = [line for line in run.stdout.splitlines() if line.startswith(("TEST CASE", "deadlock", "data race"))]
    said = [line.split(": ", 1)[-1].strip() for line in said]
    if run.returncode < 0:
        said.append(f"signal {-run.returncode}")
    return True, run.returncode == 0, ", ".join(dict.fromkeys(said))


def write(path, text):
    with open(path, "w", encoding="utf-8") as to:
        to.write(text)


def main():
    wanted = sys.argv[1:] or [""]
    missed = 0
    with tempfile.TemporaryDirectory() as tree:
        files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
        for path in filter(None, files):
            os.makedirs(os.path.join(tree, os.path.dirname(path)), exist_ok=True)
            shutil.copy(os.path.join(ROOT, path), os.path.join(tree, path))
        subprocess.run(["meson", "setup", "build", "-Dbuildtype=release", "-Ddefault_library=static", "-Dtests=enabled",
                        "-Dbench=disabled", "-Ddocs=disabled"], cwd=tree, capture_output=True, check=True)
        for program in PROGRAMS:
            built, passed, said = build_and_run(tree, program)
            if not passed:
                sys.exit(f"{program} fails before anything is broken: {said}")
        for file, wrong, text, replacement in MUTATIONS:
            if not any(each in file or each in wrong for each in wanted):
                continue
            path = os.path.join(tree, file)
            with open(path, encoding="utf-8") as source:
                original = source.read()
            if original.count(text) != 1:
                print(f"?      {file}: {wrong}: its text stands there {original.count(text)} times", flush=True)
                missed += 1
                continue
            begun = time.monotonic()
            write(path, original.replace(text, replacement))
            built, passed, said = build_and_run(tree, PROGRAMS[0] if file.startswith(TEMPLATES) else PROGRAMS[1])
            write(path, original)
            good = built and not passed
            missed += not good
            print(f"{'ok    ' if good else 'MISSED' if built else 'broken'} {time.monotonic() - begun:4.0f} s  "
                  f"{file}: {wrong}: {said[:2000 if not built else 200]}", flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
