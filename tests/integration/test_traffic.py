"""Generated traffic of the kinds against the real daemon: hit rates and spend (tests/support/traffic.py says what is
assumed; bench/traffic.py is the same with times)."""
import pytest
from conftest import make_http
from traffic import KINDS, Player, Traffic, rates, spent, without_documents


@pytest.fixture
def played(spawn, key):
    """Only what is asked again: meaning is off."""
    traffic = Traffic(400)
    daemon = spawn(env={"DEJA_SEMANTIC__ENABLED": "false"})
    with make_http(daemon, key) as client:
        player = Player(client, traffic)
        yield traffic, [player.play(asked) for asked in traffic.asked], client.get("/api/v1/stats").json()


def test_what_was_asked_before_is_a_hit_and_nothing_else(played):
    traffic, results, _ = played
    assert [one.is_hit for one in results] == traffic.expected()
    assert not any(one.is_wrong for one in results)


def test_hit_rates_and_spend_reach_their_goals(played):
    traffic, results, stats = played
    hits = [one.is_hit for one in results]
    found = rates(traffic.asked, hits)
    assert found["overall"] > 0.6 and found["repeated"] > 0.8 and found["template"] >= 0.9
    paid, everything = without_documents(traffic.asked, hits)
    assert 1 - paid / everything >= 0.6
    paid, everything = spent(traffic.asked, hits)
    assert 1 - paid / everything >= 0.6
    # the daemon says the same of what it saw
    kinds = stats["period"]["kinds"]
    count = {kind: sum(one.kind == kind for one in traffic.asked) for kind in KINDS}
    for kind in ("template", "document", "session"):
        assert kinds[kind]["hits"] == round(found[kind] * count[kind]), kind
    ai = [hit for one, hit in zip(traffic.asked, hits, strict=True) if one.is_ai]
    assert (kinds["response"]["hits"], kinds["response"]["misses"]) == (sum(ai), len(ai) - sum(ai))
    assert kinds["document"]["saved"]["cost_usd"] == pytest.approx(0.05 * kinds["document"]["hits"])
    score = sum(one.cost_usd() for one, hit in zip(traffic.asked, hits, strict=True) if hit and one.kind == "template")
    assert kinds["template"]["saved"]["cost_usd"] == pytest.approx(score, rel=1e-3)
    for figure, state in ((kinds["response"]["saved"]["cost_usd"], True), (kinds["response"]["spent_usd"], False)):
        wanted = sum(one.cost_usd() for one, hit in zip(traffic.asked, hits, strict=True) if one.is_ai and hit is state)
        assert figure == pytest.approx(wanted, rel=1e-3)
    assert kinds["response"]["saved"]["guessed_usd"] == 0


def test_traffic_is_the_same_for_the_same_seed():
    assert Traffic(300, 7).asked == Traffic(300, 7).asked != Traffic(300, 8).asked
