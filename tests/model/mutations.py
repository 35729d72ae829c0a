#!/usr/bin/env python3
"""Breaks the protocols of waiting one place at a time, and sees that the model checker finds each.

Works on a copy of the tree; takes a few minutes, so it is run by hand, when a protocol or its model has changed.
Usage: mutations.py [part of a file's or a mutation's name]
"""

import os
import shutil
import subprocess
import sys
import tempfile

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
     "if (claim_parked_for_cancel(*to.task, to.generation)) return deliver_verdict::delivered;", ""),
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

# Templates on their atomics are explored by tests of their own.
TEMPLATES = ("scheduler/queue/", "scheduler/park/idle_set.hpp")


def build_and_run(tree, file):
    """(built, passed, what it said)"""
    program = "tests/test_unit" if file.startswith(TEMPLATES) else "tests/test_model"
    build = subprocess.run(["ninja", "-C", "build", program], cwd=tree, capture_output=True, text=True)
    if build.returncode != 0:
        return False, False, build.stdout[-2000:]
    try:
        # Of the unit tests the models alone, and of these what must pass.
        run = subprocess.run([f"build/{program}", "-ts=* model", "-tce=*lacks*,*without*"] if "unit" in program
                             else [f"build/{program}"],
                             cwd=tree, capture_output=True, text=True, timeout=180, errors="replace")
    except subprocess.TimeoutExpired:
        return True, False, "does not end"
    said = [line for line in run.stdout.splitlines() if line.startswith(("TEST CASE", "deadlock", "data race"))]
    return True, run.returncode == 0, ", ".join(dict.fromkeys(line.split(": ", 1)[-1].strip() for line in said))


def main():
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    missed = 0
    with tempfile.TemporaryDirectory() as tree:
        files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
        for path in filter(None, files):
            os.makedirs(os.path.join(tree, os.path.dirname(path)), exist_ok=True)
            shutil.copy(os.path.join(ROOT, path), os.path.join(tree, path))
        subprocess.run(["meson", "setup", "build", "-Dbuildtype=release", "-Ddefault_library=static", "-Dtests=enabled",
                        "-Dbench=disabled", "-Ddocs=disabled"], cwd=tree, capture_output=True, check=True)
        for file, wrong, text, replacement in [("", "nothing", "", "")] + MUTATIONS:
            if file and wanted not in file and wanted not in wrong:
                continue
            path = os.path.join(tree, file)
            original = open(path, encoding="utf-8").read() if file else ""
            if original.count(text) != 1 and file:
                print(f"?      {file}: {wrong}: its text stands there {original.count(text)} times")
                missed += 1
                continue
            if file:
                open(path, "w", encoding="utf-8").write(original.replace(text, replacement))
            built, passed, said = build_and_run(tree, file)
            if file:
                open(path, "w", encoding="utf-8").write(original)
            good = built and passed != bool(file)
            missed += not good
            print(f"{'ok    ' if good else 'MISSED' if built else 'broken'} {file}: {wrong}: {said[:200]}", flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
