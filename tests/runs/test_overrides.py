import pytest
from hypothesis import given
from hypothesis import strategies as st

from wavecoder.runs.limits import SettingError
from wavecoder.runs.overrides import CONF, check_choices, options_first, quote_whole_numbers, sorted_options


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        ("latent=1", "latent='1'"),
        ("latent=1,5", "latent='1','5'"),
        ("latent=1, 5", "latent='1', '5'"),
        ("latent=choice(1,5)", "latent=choice('1','5')"),
        ("latent=range(1,4)", "latent='1','2','3'"),
        ("latent=shuffle(range(1,4))", "latent=shuffle('1','2','3')"),
        ("latent=sort(5,1,reverse=true)", "latent=sort('5','1',reverse=true)"),
        ("latent='1','5'", "latent='1','5'"),
        ("+latent=5", "+latent='5'"),
        ("activation=relu,tanh", "activation=relu,tanh"),
        ("activation=glob(*)", "activation=glob(*)"),
        ("latent.dim=7", "latent.dim=7"),
        ("latent.dim=range(1,10)", "latent.dim=range(1,10)"),
        ("seed=1,2", "seed=1,2"),
        ("~latent", "~latent"),
        ("-m", "-m"),
        ("--cfg", "--cfg"),
        ("latent=", "latent="),
        ("latent=1,,", "latent=1,,"),
        ("hydra/launcher=basic", "hydra/launcher=basic"),
        ("experiment=null", "~experiment"),
    ],
)
def test_whole_numbers_are_quoted_where_they_name_options(given_: str, wanted: str) -> None:
    assert quote_whole_numbers(given_) == wanted
    assert quote_whole_numbers(wanted) == wanted


@given(st.text(max_size=60))
def test_any_argument_is_quoted_once_or_refused(argument: str) -> None:
    try:
        quoted = quote_whole_numbers(argument)
    except SettingError:
        return
    assert quote_whole_numbers(quoted) == quoted


@pytest.mark.parametrize("value", ["1.5", "null", "-1", "true", "[1,5]", "{a:1}"])
def test_what_can_name_no_option_is_refused_with_the_options(value: str) -> None:
    with pytest.raises(SettingError, match=r"^latent=.*: must be the name of an option; there are 1, 2, 3, 5, 10$"):
        quote_whole_numbers(f"latent={value}")


@pytest.mark.parametrize("value", ["true", "wavecoder", "[wavecoder,torch.nn]", "root"])
def test_messages_are_shown_of_packages_that_are_there(value: str) -> None:
    check_choices([f"hydra.verbose={value}"])
    with pytest.raises(SettingError, match=r"^hydra\.verbose=no_such: must be true, false, or packages whose messages are shown"):
        check_choices(["hydra.verbose=no_such"])


def test_options_are_sorted_as_people_would() -> None:
    assert sorted_options(["10", "2", "1"]) == ["1", "2", "10"]
    assert sorted_options(["tanh", "gelu"]) == ["gelu", "tanh"]
    assert (CONF / "train.yaml").is_file()


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("seed=1,2 -m", "-m seed=1,2"),
        ("latent=1 --config-dir mine model=own", "--config-dir mine latent=1 model=own"),
        ("latent=1 --cfg job -m seed=3", "--cfg job -m latent=1 seed=3"),
        ("latent=1 -cd=mine ~logger seed=3", "-cd=mine latent=1 ~logger seed=3"),
        ("--info +a=1", "--info +a=1"),
    ],
)
def test_options_stand_before_choices(typed: str, first: str) -> None:
    assert options_first(typed.split()) == first.split()
