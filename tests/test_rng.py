import torch

from wavecoder.rng import generator, seed_of


def test_a_generators_stream_depends_on_its_key_alone() -> None:
    torch.manual_seed(1)
    first = torch.randn(5, generator=generator("cpu", 0, "noise", 3))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(first, torch.randn(5, generator=generator("cpu", 0, "noise", 3)))
    assert torch.equal(state, torch.get_rng_state()), "the global generator was drawn from"
    for other in [(0, "noise", 4), (1, "noise", 3), (0, "order", 3), (0, "noise")]:
        assert not torch.equal(first, torch.randn(5, generator=generator("cpu", *other)))


def test_seeds_are_the_same_in_every_process_and_fit_a_generator() -> None:
    assert seed_of(0, "noise", 0.1) == 6269636223946840080
    assert seed_of(1, "noise") != seed_of("1", "noise")
    assert all(0 <= seed_of(number) < 2**63 for number in range(100))
