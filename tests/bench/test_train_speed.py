"""What the benchmark says of the real run."""

from bench.train_speed import projection


def test_three_epochs_are_those_of_what_is_trained(capsys) -> None:
    # 17,878 dialogues, half of which repeat the other half: 8,939 of 491.447 tokens each.
    projection(tokens_per_second=1000)
    assert capsys.readouterr().out.startswith(
        "three epochs of ConvAI2: 3 x 4,393,044 tokens / 1,000 tokens/s = 219.7 min"
    )
