"""Tags: encoding with overwriting, decoding of any sequence, round trips."""

import itertools
import unittest

from landfall_train import bio


class Bio(unittest.TestCase):
    def test_tag_order(self) -> None:
        self.assertEqual([bio.begin(0), bio.inside(0), bio.begin(1), bio.inside(1)], [1, 2, 3, 4])
        self.assertEqual(bio.tag_count(10), 21)

    def test_a_later_longer_mention_wins(self) -> None:
        self.assertEqual(bio.encode(3, [(1, 2, 0), (1, 3, 0)]), [0, 1, 2])
        self.assertEqual(bio.encode(2, [(0, 1, 0), (0, 2, 1)]), [3, 4])

    def test_a_mention_overwritten_in_part_keeps_its_rest(self) -> None:
        tags = bio.encode(3, [(0, 3, 0), (0, 1, 1)])
        self.assertEqual(tags, [3, 2, 2])
        self.assertEqual(bio.decode(tags), [(0, 1, 1), (1, 3, 0)])

    def test_inside_after_anything_else_begins(self) -> None:
        self.assertEqual(bio.decode([0, 2, 2, 4, 0, 4]), [(1, 3, 0), (3, 4, 1), (5, 6, 1)])

    def test_begin_always_begins(self) -> None:
        self.assertEqual(bio.decode([1, 1, 2]), [(0, 1, 0), (1, 3, 0)])

    def test_spans_survive_a_round_trip_whatever_the_tags(self) -> None:
        for tags in itertools.product(range(5), repeat=4):
            spans = bio.decode(tags)
            self.assertEqual(bio.decode(bio.encode(4, spans)), spans, tags)


if __name__ == "__main__":
    unittest.main()
