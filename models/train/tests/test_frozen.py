"""The frozen sets: their marks, and that they are what the tasks can answer."""

import unittest
from pathlib import Path

from landfall_train import frozen, labels, words

SETS = Path(__file__).resolve().parent.parent / "evaluation"


class Marks(unittest.TestCase):
    def test_marks_become_offsets(self) -> None:
        row = frozen.unmarked("[Activity:replace] the [Item:oil pump]")
        self.assertEqual(row.text, "replace the oil pump")
        self.assertEqual(row.spans, ((0, 7, "Activity"), (12, 20, "Item")))

    def test_a_line_without_marks_is_itself(self) -> None:
        self.assertEqual(frozen.unmarked("nothing here"), frozen.Tagged("nothing here", ()))


class Sets(unittest.TestCase):
    def test_labels_exist(self) -> None:
        for row in frozen.labelled(SETS / "failure-mode.tsv"):
            self.assertTrue(row.label is None or row.label in labels.FAILURE_MODES, row)
            self.assertTrue(row.text.strip(), row)

    def test_spans_are_ones_that_decoding_can_give(self) -> None:
        for row in frozen.tagged(SETS / "work-order-fields.txt"):
            starts = {start for start, _ in words.words(row.text)}
            ends = {end for _, end in words.words(row.text)}
            for start, end, label in row.spans:
                self.assertIn(label, labels.FIELDS, row)
                self.assertEqual(words.trim(row.text, start, end), (start, end), row)
                self.assertTrue(start in starts and end in ends, row)

    def test_both_have_enough_lines_and_none_twice(self) -> None:
        for rows in (
            frozen.labelled(SETS / "failure-mode.tsv"),
            frozen.tagged(SETS / "work-order-fields.txt"),
        ):
            texts = [row.text for row in rows]
            self.assertGreaterEqual(len(texts), 40)
            self.assertEqual(len(texts), len(set(texts)))


if __name__ == "__main__":
    unittest.main()
