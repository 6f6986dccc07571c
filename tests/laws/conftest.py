"""What the laws of exact inference share: their families of models, and one thread (two cores run two workers)."""

from __future__ import annotations

import pytest
import torch
from tests.reference.data_folder import ABSENT, WHERE
from tests.reference.random_models import FAMILIES

#: Laws over long tables of which `make test` runs every so-manieth case, `make test-all` each.
THINNED = {
    "test_no_data_give_nan": 4,
    "test_no_step_lowers_what_em_climbs": 3,
    "test_fisher_and_the_best_parameters": 2,
    "test_single_precision_keeps_the_digits_that_it_has": 3,
    "test_layouts_agree": 3,
    "test_sklearn_conventions": 3,
    "test_questions": 2,
    "test_fitting_is_em_from_what_was_set": 2,
    "test_density_and_entropy": 3,
    "test_filtered_and_predicted_see_only_the_past": 2,
    "test_gradients_reach_every_parameter": 3,
    "test_derivatives_to_second_order": 2,
    "test_ragged_batch_is_a_loop_over_members": 3,
    "test_padding_is_harmless": 3,
    "test_queries_work_in_every_grad_mode": 4,
    "test_lower_bounds_hold_and_restarts_only_raise_them": 2,
    "test_every_step_of_mean_field_raises_its_bound": 2,
    "test_the_flat_form_adds_up_to_log_z": 2,
    "test_bounds_enclose_and_forests_are_exact": 3,
    "test_implicit_gradients_are_unrolled_ones_are_finite_differences": 3,
    "test_messages_are_those_of_the_table": 2,
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    seen: dict[str, int] = {}
    for item in items:
        name = getattr(item, "originalname", "")
        if name in THINNED:
            seen[name] = seen.get(name, -1) + 1
            if seen[name] % THINNED[name]:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    """A family of random models; laws of one family run together and share its cases."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data_folder():
    """The folder of data sets; what needs it is skipped where it is not."""
    if not WHERE.is_dir():
        pytest.skip(ABSENT)
    return WHERE
