"""How the files of the tests are shared out, with the real scheduler and processes that only take notes."""

from dataclasses import dataclass, field
from types import SimpleNamespace

from tests.two_ends import TwoEnds

FILES = ("contract/test_a.py", "e2e/test_b.py", "peers/test_c.py", "unit/test_d.py", "unit/test_e.py", "unit/test_f.py")
TESTS = [f"tests/{file}::test_{number}" for file in FILES for number in range(4)]


@dataclass(eq=False)
class Process:
    """What the scheduler asks of one."""

    name: str
    given: list[int] = field(default_factory=list)
    shutting_down: bool = False

    @property
    def gateway(self) -> SimpleNamespace:
        """Its name."""
        return SimpleNamespace(id=self.name)

    def send_runtest_some(self, numbers: list[int]) -> None:
        """More to do."""
        self.given += numbers

    def shutdown(self) -> None:
        """Nothing more comes."""
        self.shutting_down = True


def shared_out(processes: list[Process], turns: list[int]) -> None:
    """Let the processes run all tests; ``turns`` says how many each runs in its turn."""
    config = SimpleNamespace(
        option=SimpleNamespace(loadscopereorder=False), getvalue=lambda _name: ["popen"] * len(processes)
    )
    scheduler = TwoEnds(config)
    for process in processes:
        scheduler.add_node(process)
        scheduler.add_node_collection(process, TESTS)
    scheduler.schedule()
    done = [0] * len(processes)
    while sum(done) < len(TESTS):
        for place, process in enumerate(processes):
            for _ in range(min(turns[place], len(process.given) - done[place])):
                scheduler.mark_test_complete(process, process.given[done[place]])
                done[place] += 1


def files(process: Process) -> list[str]:
    """The files that a process was given, in their order."""
    return list(dict.fromkeys(TESTS[number].split("::")[0].removeprefix("tests/") for number in process.given))


def test_they_begin_at_both_ends_and_meet() -> None:
    """One runs the files from the first on, the other from the last on; each test runs once, a file in one process."""
    first, second = Process("gw0"), Process("gw1")
    shared_out([first, second], [1, 2])  # the second one is quicker
    assert sorted(first.given + second.given) == list(range(len(TESTS)))
    assert files(first) + files(second)[::-1] == list(FILES)
    assert 1 < len(files(first)) < len(files(second))


def test_only_one_begins_with_the_servers() -> None:
    """Of three processes two begin at the end."""
    processes = [Process(f"gw{number}") for number in range(3)]
    shared_out(processes, [1, 1, 1])
    assert [files(process)[0] for process in processes] == [FILES[0], FILES[-1], FILES[-2]]
