"""The workshop's side of shipping: signing, publishing and deploying artifacts."""
