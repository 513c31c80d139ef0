"""The frozen sets: their marks, and that they are what the tasks can answer."""

import tempfile
import unittest
from pathlib import Path

from landfall_train import frozen, labels, words

SETS = Path(__file__).resolve().parent.parent / "evaluation"


SPAN_SETS = {
    "work-order-fields": labels.FIELDS,
    "maintie-5": labels.MAINTIE,
    "redact": labels.REDACT,
}


class Marks(unittest.TestCase):
    def test_marks_become_offsets(self) -> None:
        row = frozen.unmarked("[Activity:replace] the [Item:oil pump]")
        self.assertEqual(row.text, "replace the oil pump")
        self.assertEqual(row.spans, ((0, 7, "Activity"), (12, 20, "Item")))

    def test_a_line_without_marks_is_itself(self) -> None:
        self.assertEqual(frozen.unmarked("nothing here"), frozen.Tagged("nothing here", ()))


    def test_nested_marks_become_offsets(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "marks.txt"
            path.write_text("# a comment\nFL2 [O air [O filters]] [S plugged]\n", encoding="utf-8")
            [row] = frozen.nested(path)
        self.assertEqual(row.text, "FL2 air filters plugged")
        found = {row.text[start:end]: label for start, end, label in row.spans}
        expected = {"air filters": "PhysicalObject", "filters": "PhysicalObject"}
        self.assertEqual(found, {**expected, "plugged": "State"})


class Sets(unittest.TestCase):
    def test_labels_exist(self) -> None:
        for row in frozen.labelled(SETS / "failure-mode.tsv"):
            self.assertTrue(row.label is None or row.label in labels.FAILURE_MODES, row)
        for row in (row for name in ("failure-mode", "intent-150") for row in labelled(name)):
            self.assertTrue(row.text.strip(), row)

    def test_spans_are_ones_that_decoding_can_give(self) -> None:
        for name, known in SPAN_SETS.items():
            for row in marked(name):
                starts = {start for start, _ in words.words(row.text)}
                ends = {end for _, end in words.words(row.text)}
                for start, end, label in row.spans:
                    self.assertIn(label, known, row)
                    self.assertIsNotNone(words.trim(row.text, start, end), row)
                    self.assertTrue(start in starts or row.text[start - 1] in words.TRIMMED, row)
                    self.assertTrue(end in ends or row.text[end] in words.TRIMMED, row)

    def test_each_has_enough_lines_and_none_twice(self) -> None:
        sets = [labelled("failure-mode"), labelled("intent-150"), *map(marked, SPAN_SETS)]
        for rows in sets:
            texts = [row.text for row in rows]
            self.assertGreaterEqual(len(texts), 40)
            self.assertEqual(len(texts), len(set(texts)))


def labelled(name: str) -> list[frozen.Labelled]:
    return frozen.labelled(SETS / f"{name}.tsv")


def marked(name: str) -> list[frozen.Tagged]:
    read = frozen.nested if name == "maintie-5" else frozen.tagged
    return read(SETS / f"{name}.txt")


if __name__ == "__main__":
    unittest.main()
