"""Spelling noise: repeatable, and never more or fewer words."""

import random
import unittest

from landfall_train import noise


class Noise(unittest.TestCase):
    def test_slips_change_little(self) -> None:
        rng = random.Random(1)
        for _ in range(200):
            self.assertIn(len(noise.slip("hydraulic", rng)), (8, 9, 10))

    def test_short_words_and_codes_are_left_alone(self) -> None:
        rng = random.Random(1)
        for word in ("oil", "a/c", "pump2"):
            self.assertEqual(noise.slip(word, rng), word)

    def test_the_same_seed_spells_the_same(self) -> None:
        def spelt() -> list[str]:
            speller = noise.Speller({"replace": ["repl", "rep"]}, seed=7)
            return [speller.text("replace leaking hydraulic hose", 0.5) for _ in range(20)]

        self.assertEqual(spelt(), spelt())
        self.assertGreater(len(set(spelt())), 5)

    def test_the_number_of_words_stays(self) -> None:
        speller = noise.Speller({"replace": ["repl"]}, seed=3)
        for _ in range(50):
            self.assertEqual(len(speller.words(["replace", "leaking", "hose"], 1.0)), 3)


if __name__ == "__main__":
    unittest.main()
