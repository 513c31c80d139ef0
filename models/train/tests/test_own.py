"""Our own training text: it parses, and says nothing twice."""

import tempfile
import unittest
from pathlib import Path

from landfall_train import bio, own
from landfall_train.corpus import DataError
from landfall_train.labels import FAILURE_MODES, FIELDS, MAINTIE


class Corpus(unittest.TestCase):
    def test_every_failure_mode_has_observations_and_none_two_labels(self) -> None:
        rows = own.observations()
        self.assertEqual({row.label for row in rows}, set(range(len(FAILURE_MODES))))
        self.assertEqual(len(rows), len({row.text for row in rows}))

    def test_requests_are_many_and_different(self) -> None:
        rows = own.strangers()
        self.assertGreater(len(rows), 2000)
        self.assertEqual(len(rows), len(set(rows)))

    def test_orders_use_every_field(self) -> None:
        rows = own.orders()
        self.assertEqual(
            {span[2] for row in rows for span in bio.decode(row.tags)}, set(range(len(FIELDS)))
        )

    def test_nested_orders_use_every_class(self) -> None:
        rows = own.nested_orders()
        self.assertEqual({span[2] for row in rows for span in row.spans}, set(range(len(MAINTIE))))


class Marks(unittest.TestCase):
    def read(self, line: str) -> list[own.Nested]:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "orders.txt"
            path.write_text(f"# comment\n\n{line}\n", encoding="utf-8")
            return own.marked(path)

    def test_marks_nest(self) -> None:
        [row] = self.read("<id> [O fuel [O [S leak] hose]] [A change out]")
        self.assertEqual(row.text, "<id> fuel leak hose change out")
        thing, state, activity = (MAINTIE.index(n) for n in ("PhysicalObject", "State", "Activity"))
        wanted = {(1, 4, thing), (2, 4, thing), (2, 3, state), (4, 6, activity)}
        self.assertEqual(set(row.spans), wanted)

    def test_broken_marks_are_named_with_their_line(self) -> None:
        for line in ("[O pump", "pump]", "[O ]"):
            with self.assertRaisesRegex(DataError, r"orders\.txt:3"):
                self.read(line)



class FlatMarks(unittest.TestCase):
    def read(self, line: str) -> list[own.Order]:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "orders.txt"
            path.write_text(f"# comment\n{line}\n", encoding="utf-8")
            return own.flat(path)

    def test_marks_hold_words(self) -> None:
        [row] = self.read("[Activity:c/o] the [Item:Air filter]")
        self.assertEqual(row.words, ("c/o", "the", "air", "filter"))
        activity, item = FIELDS.index("Activity"), FIELDS.index("Item")
        self.assertEqual(bio.decode(row.tags), [(0, 1, activity), (2, 4, item)])

    def test_what_is_not_a_mark_is_refused_with_its_place(self) -> None:
        for line in ("[Item:pump", "pump]", "[Colour:red]", "[Item: ]"):
            with self.subTest(line=line), self.assertRaisesRegex(DataError, "orders.txt:2"):
                self.read(line)


if __name__ == "__main__":
    unittest.main()
