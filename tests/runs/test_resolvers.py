import pytest
from conftest import composed
from hypothesis import given
from hypothesis import strategies as st

from wavecoder.runs.resolvers import epochs, folder_name, network_name, option_name, overridden_keys, run_folder


@given(st.text(min_size=0, max_size=400))
def test_folder_names_are_short_and_safe(overrides: str) -> None:
    name = folder_name(overrides)
    assert 1 <= len(name) <= 120
    assert not set(name) & set("/\\'\"[]{}()*?:<>| \n\0")
    assert name not in (".", "..")
    assert folder_name(overrides) == name


def test_folder_names_are_readable_and_tell_long_overrides_apart() -> None:
    assert folder_name("activation=relu,latent='5'") == "activation=relu,latent=5"
    assert folder_name("data.families=[sin,cos]").startswith("data.families=sin,cos-")
    assert folder_name("") == "default"
    assert folder_name("data.families=[sin-cos]") != folder_name("data.families=[sin*cos]")
    long = "data.families=" + "sin," * 100
    assert folder_name(long + "a") != folder_name(long + "b")


def test_overridden_keys_have_no_signs() -> None:
    keys = {"model.width", "callbacks.figures", "a", "x"}
    assert overridden_keys(["+model.width=64", "~callbacks.figures", "a=b=c", "++x=1"]) == keys


@pytest.mark.parametrize(
    ("overrides", "activation", "network"),
    [
        ([], "gelu", "gelu"),
        (["activation=silu"], "silu", "silu"),
        (["activation._target_=torch.nn.Hardswish"], "Hardswish", "Hardswish"),
        (["model=linear_tied"], "identity", "linear_tied"),
        (["model._target_=my_package.MyAutoencoder"], "gelu", "MyAutoencoder"),
        (["model._target_=my_package.MyAutoencoder", "activation=tanh"], "tanh", "MyAutoencoder_tanh"),
        (["experiment=theorem"], "identity", "linear_tied"),
    ],
)
def test_networks_are_named_after_what_was_chosen(overrides: list[str], activation: str, network: str) -> None:
    """Of another model than the default one, only an activation that was chosen is named: it need not have any."""
    config = composed(*overrides)
    assert option_name(config, "activation") == activation
    assert network_name(config) == network


def test_the_tasks_of_a_slurm_step_share_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_folder("gelu", 1, 2) != run_folder("gelu", 1, 2), "two runs never share one by accident"
    for name, value in {"STEP_NUM_TASKS": "2", "JOB_ID": "7", "STEP_ID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert run_folder("gelu", 1, 2) == run_folder("gelu", 1, 2) == "slurm/7.0_gelu"
    assert run_folder("gelu", 1, 1) != run_folder("gelu", 1, 1), "tasks that share no run have folders of their own"


def test_epochs_are_the_nearest_number_and_at_least_one() -> None:
    assert [epochs(9360, size, 64) for size in (100, 1000, 20_000)] == [9360, 624, 30]
    assert epochs(1, 20_000, 64) == 1
    assert epochs(10, 10, 64) == 10
