"""What an attack learns with is chosen on people whom it does not report."""

import numpy as np
import pytest

from dp2bench.attacks.learning import cosine_distances, discriminant
from dp2bench.attacks.retrieval import chosen_shrinkage
from dp2bench.metrics.ranking import rank

CANDIDATES = (0.003, 0.03, 0.3, 1.0)


def rows_of(people: int, seed: int, *, nuisance: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures of people, four by two cameras each: what tells them apart lies beside strong directions that do not."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(1, people + 1), 8)
    cameras = np.tile([1, 1, 1, 1, 2, 2, 2, 2], people)
    signal = random.normal(0, 0.3, (people, 6))[labels - 1] + random.normal(0, 0.1, (len(labels), 6))
    strong = random.normal(0, nuisance, (len(labels), 6))
    return np.concatenate([signal, strong], 1).astype(np.float32), labels, cameras


def found(shrinkage: float, train, test) -> float:
    seen = discriminant(train[0], train[1], shrinkage)(test[0])
    ranking = rank(cosine_distances(seen, seen), test[1], test[1], test[2], test[2])
    return float(ranking.average_precision[ranking.valid].mean())


@pytest.mark.parametrize("seed", range(3))
def test_the_chosen_shrinkage_does_well_on_people_never_seen(seed):
    train, test = rows_of(40, seed, nuisance=5.0), rows_of(40, seed + 100, nuisance=5.0)
    chosen = chosen_shrinkage(*train, CANDIDATES)
    reached = {c: found(c, train, test) for c in CANDIDATES}
    assert reached[chosen] > max(reached.values()) - 0.02
    assert reached[chosen] > reached[1.0] + 0.1  # it matters here


def test_one_candidate_needs_no_choice():
    assert chosen_shrinkage(np.zeros((0, 3), np.float32), np.zeros(0, int), np.zeros(0, int), (0.3,)) == 0.3


def test_the_choice_without_a_person_before_two_cameras():
    """Half of the train identities, or all, are seen by one camera: what the other half says decides, and the first where nobody can."""
    rows, people, cameras = rows_of(40, 0, nuisance=5.0)
    candidates = CANDIDATES[::-1]
    _, order = np.unique(people, return_inverse=True)
    alone = np.where(order % 2 == 0, 1, cameras)
    both = chosen_shrinkage(rows, people, cameras, candidates)
    assert both != candidates[0]  # so that what follows is a choice
    half = order % 2 == 1
    learned = {c: discriminant(rows[~half], people[~half], c)(rows[half]) for c in candidates}
    labels = people[half], people[half], cameras[half], cameras[half]
    best = max(
        candidates,
        key=lambda c: rank(cosine_distances(learned[c], learned[c]), *labels).mean_average_precision,
    )
    assert chosen_shrinkage(rows, people, alone, candidates) == best
    assert chosen_shrinkage(rows, people, np.ones_like(cameras), candidates) == candidates[0]
