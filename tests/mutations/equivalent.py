"""Variants that no test can notice, or need not: each with its reason.

A reason is one of: nothing that anyone sees differs; only the time differs, or how far a search
goes; a second line of defence, behind one that is tested.
"""

EQUIVALENT: dict[str, str] = {
    "answers.py:_KindError.__init__: super().__init__() -> pass": (
        "an exception keeps what it was made with, whether it is told to or not"
    ),
    "comparison.py:_largest: 0.0 -> 0.1": "of no entries none is compared with it",
    "comparison.py:_factors: 1 -> 2": "a factor of 1 would fit a right answer only",
    "judging.py:_noise: question.rounding(name, 2 * answers.resolution(answer)) -> "
    "2 * (question.rounding(name, 2 * answers.resolution(answer)))": (
        "the bound is an estimate: between it and its double there is nothing but rounding"
    ),
    "truth.py:_granted: min(_UNITS * eps, _MOST_LEFT) -> 2 * (min(_UNITS * eps, _MOST_LEFT))": (
        "the bound is an estimate: between it and its double there is nothing but rounding"
    ),
    "verdict.py:CheckFailed.__init__: super().__init__(str(verdict)) -> pass": (
        "an exception keeps what it was made with, and a verdict is shown as its text"
    ),
    "undisturbed.py:_random_states_kept: with_cuda -> (not (with_cuda))": (
        "differs on a machine with a CUDA device only"
    ),
    "truth.py:Question._finished: torch.zeros(tensor.shape, dtype=tensor.dtype) -> "
    "2 * (torch.zeros(tensor.shape, dtype=tensor.dtype))": "twice nothing is nothing",
    "backward.py:order: 0 -> 1": "the first node is alone in the heap, whatever its number",
    "backward.py:_added: one.is_sparse and not other.is_sparse -> "
    "(one.is_sparse or not other.is_sparse)": (
        "a sum is the same from both sides; only a sparse first and a dense second cannot be added"
    ),
    "judging.py:_noise: 2 -> 3": (
        "the bound is an estimate: between it and its double there is nothing but rounding"
    ),
    "verdict.py:inline: False -> True": "a quotation mark looks the same, written in either way",
    "matching.py:Given._texts: 1 -> 2": "no number format of less than two digits is read",
    "matching.py:Given.is_rounded: gap <= self._last_digits / 2 * (1 + 1e-9) -> "
    "(gap < self._last_digits / 2 * (1 + 1e-09))": (
        "differs at a gap of half a digit and a billionth, where the bound is an estimate"
    ),
    "matching.py:Given._significant: 0 -> 1": "is raised to three digits anyway",
    "matching.py:Given._largest: 0.0 -> 0.1": "of no entries none is compared with it",
    "matching.py:Given._may_be: 2 -> 3": (
        "a quick look: what it lets through is then compared entry by entry"
    ),
    "malrules/general.py:row 'one-path': _alone(meeting, 1) -> 2 * (_alone(meeting, 1))": (
        "a list twice over: the same gradient is tried twice"
    ),
    "malrules/general.py:row 'ones-for-v': _optional(r.ones) if r.v.numel() > 1 else [] -> "
    "2 * (_optional(r.ones) if r.v.numel() > 1 else [])": (
        "a list twice over: the same gradient is tried twice"
    ),
    "malrules/general.py:_held_constant: torch.zeros_like(site.raw_at(slot)) -> "
    "2 * (torch.zeros_like(site.raw_at(slot)))": "twice nothing is nothing",
    "recording.py:_Recorder.__init__: super().__init__() -> pass": (
        "a TorchFunctionMode has nothing to set up"
    ),
    "graph.py:place_of: tensor.requires_grad and not tensor.is_inference() -> "
    "(tensor.requires_grad or not tensor.is_inference())": (
        "saves an exception: what has no place raises, and then has none either"
    ),
    "constants.py:_same: False -> True": (
        "a sparse constant may get the name of another one of its shape; dense ones are compared"
    ),
    "examine.py:Stop.__init__: super().__init__() -> pass": (
        "an exception keeps what it was made with, whether it is told to or not"
    ),
    "returned.py:BlankError.__init__: super().__init__() -> pass": (
        "an exception keeps what it was made with, whether it is told to or not"
    ),
    "returned.py:UnusableResultError.__init__: super().__init__(sentence) -> pass": (
        "an exception keeps what it was made with, whether it is told to or not"
    ),
    'nesting.py:boxed: array.dtype.kind == "O" and not array.ndim -> '
    "(array.dtype.kind == 'O' or not array.ndim)": (
        "an array of objects with axes is opened before; a number is the same out of its box"
    ),
    "backward.py:run: False -> True": (
        "PyTorch's engine allows no step that returns another number of gradients than it has edges"
    ),
    "backward.py:fitted: False -> True": (
        "PyTorch's engine allows no step that returns another number of gradients than it has edges"
    ),
    "search.py:Search._everywhere: len(members) > 1 and (group[0].rule.name, members) not in tried "
    "-> (len(members) > 1 or (group[0].rule.name, members) not in tried)": (
        "the same mistake is tried twice: only the time differs"
    ),
    "breaking.py:_same: one is None -> (one is not None)": (
        "what changes nothing is tried, too, and fits no wrong answer: only the time differs"
    ),
    "breaking.py:Breaker._at_broadcast: self.replay.spend(node) -> pass": (
        "only how far a search goes differs"
    ),
    "breaking.py:Breaker._at_meeting: True -> False": "a count for each path is what a rule gives",
    "replay.py:Replay.__init__: self.begin() -> pass": "a search begins by granting the work anew",
    "examine.py:_and_read: False -> True": (
        "what is read is compared only, whether PyTorch could track it or not"
    ),
    "examine.py:Examiner._calls: True -> False": "a call has one result",
    'classroom/fence.py:_mapped: int(Path("/proc/self/statm").read_text().split()[0]) * '
    "resource.getpagesize() -> (int(Path('/proc/self/statm').read_text().split()[0]) * "
    "resource.getpagesize()) + 1": "one byte more",
    "classroom/fence.py:_mapped: 8 << 30 -> (8 << 30) + 1": "one byte more",
    'classroom/kernel.py:mount_memory: _checked(libc.mount(b"none", b"/", None, '
    '_RECURSIVE | _PRIVATE, None), "mount") -> pass': (
        "is seen outside of the world in which mutations are tried, and only by a machine that "
        "shares its mounts"
    ),
    "classroom/intact.py:Intact._restore_settings: True -> False": (
        "there is a state for each source of random numbers"
    ),
    "classroom/judge.py:_moment: os.fork() == 0 -> (os.fork() != 0)": (
        "parent and child change their places: one judges, the other goes on"
    ),
    "classroom/grading.py:grade: True -> False": "there is a lesson for each source",
    "classroom/grading.py:write: False -> True": "the same JSON, written in another way",
    "classroom/judge.py:_moment: os.close(asked) -> pass": (
        "an open file more; that a moment is gone is heard where it replies"
    ),
    "classroom/warm.py:Warm.end: time.sleep(0.002) -> pass": "only the time differs",
    'classroom/exports/junit.py:write: ET.indent(root, " ") -> pass': "only the layout differs",
    "classroom/judge.py:_moment: kernel.die_with_parent(signal.SIGKILL) -> pass": (
        "a second line of defence: a moment ends, too, when nobody can ask it any more"
    ),
    "classroom/judge.py:_moment: sys.platform == \"linux\" -> (sys.platform != 'linux')": (
        "a second line of defence: a moment ends, too, when nobody can ask it any more"
    ),
    "classroom/running.py:Run.close: continue -> pass": "nothing stands behind it in its loop",
    "caged.py:Cage._stop: True -> False": "one second more is waited: only the time differs",
    "reasons.py:_question: True -> False": "it is given as many tensors as it has names for",
    "trial.py:_backward: True -> False": "PyTorch gives a gradient for each tensor",
    "smallest.py:_no_constants: True -> False": (
        "for a version of Hypothesis in which there is nothing to put aside"
    ),
    "inputs.py:Recipe.used: True -> False": "there is a pattern for each input",
    "examine.py:_require_unchanged: True -> False": "a call has as many arguments as inputs",
    "returned.py:_parts: any -> all": "a key that is no text is not among the names",
    "truth.py:ask: not is_tensor(of) and callable(of) -> (not is_tensor(of) or callable(of))": (
        "what is neither a tensor nor a function is refused in the next line"
    ),
    "spans.py:_single: child is not None -> (child is None)": (
        "it is asked of products only: one of two is a variable, or one of two is none"
    ),
    "malrules/arithmetic.py:_swapped: site.has(k) and site.knows(k) -> "
    "(site.has(k) or site.knows(k))": (
        "what a product hands on it knows the other factor of; a gradient more reaches nothing"
    ),
    "malrules/matrices.py:_matrix: site.has(slot) and site.knows(other) -> "
    "(site.has(slot) or site.knows(other))": (
        "what a product hands on it knows the other factor of; a gradient more reaches nothing"
    ),
    "malrules/general.py:_value_as_start: result.of.numel() == 1 and "
    "math.prod(result.v.shape) == 1 "
    "-> (result.of.numel() == 1 or math.prod(result.v.shape) == 1)": (
        "v has the shape of what is asked about"
    ),
    "malrules/general.py:row 'detached-moves': r.undetached -> 2 * (r.undetached)": (
        "a list twice over: the same gradient is tried twice"
    ),
    "malrules/general.py:row 'one-step-too-far': r.further -> 2 * (r.further)": (
        "a list twice over: the same gradient is tried twice"
    ),
    "classroom/zygote.py:main: continue -> pass": "the last line of a loop goes on by itself",
}
