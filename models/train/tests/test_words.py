"""Words, trimming, and which piece stands for a word."""

import unittest

from landfall_train import words


class Words(unittest.TestCase):
    def test_words_are_runs_of_anything_but_space(self) -> None:
        self.assertEqual(words.words("a/c  u/s.\tnow"), [(0, 3), (5, 9), (10, 13)])
        self.assertEqual(words.words(" \n"), [])

    def test_offsets_count_characters_not_bytes(self) -> None:
        self.assertEqual(words.words("45° über"), [(0, 3), (4, 8)])

    def test_trim_takes_outer_punctuation_only(self) -> None:
        self.assertEqual(words.trim("(no. 2 pump),", 0, 13), (1, 11))
        self.assertEqual(words.trim("a/c", 0, 3), (0, 3))

    def test_nothing_but_punctuation_is_no_span(self) -> None:
        self.assertIsNone(words.trim("?!", 0, 2))

    def test_first_pieces_skip_special_and_later_pieces(self) -> None:
        spans = [(0, 7), (8, 12)]
        pieces = [(0, 0), (0, 3), (3, 7), (8, 12), (0, 0)]
        self.assertEqual(words.first_pieces(spans, pieces), [1, 3])

    def test_a_word_without_pieces_has_none(self) -> None:
        spans = [(0, 2), (3, 4), (5, 8)]
        pieces = [(0, 0), (0, 2), (5, 8), (0, 0)]
        self.assertEqual(words.first_pieces(spans, pieces), [1, None, 2])

    def test_words_beyond_the_cut_have_none(self) -> None:
        self.assertEqual(words.first_pieces([(0, 2), (3, 5)], [(0, 0), (0, 2), (0, 0)]), [1, None])


if __name__ == "__main__":
    unittest.main()
