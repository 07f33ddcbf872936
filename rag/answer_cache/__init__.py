"""The answer cache: an answer that was made is given again to a question that asks the same."""
