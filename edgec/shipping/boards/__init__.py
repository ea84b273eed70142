"""Boards that ssh reaches: the same agent and slots as on any device, brought there and asked (docs/deploy.md).

hosts      boards by name: how ssh reaches them, and the agent's folder there
agent      a session with the device agent on a board
packages   what is brought: artifacts with their signatures
deploy     bringing artifacts, the agent, and the keys that a board trusts
status     what boards have; brings nothing
rollback   going back to a version that a board had
parallel   the same work on several boards at once
reports    what becomes of each board
"""
