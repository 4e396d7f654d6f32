# SPDX-License-Identifier: Apache-2.0
"""Identity: who someone is, what they may do, and what must never be seen in a log.

A leaf: nothing of ours is imported here, nothing is read or written, and no function looks at a
clock. Instants come in as ``now`` (UTC epoch seconds) and randomness as a callable, so that every
rule here can be proven in a test without waiting. Whatever must happen once only (redeeming an
invitation, refusing a replayed ``jti``) is an atomic step of the store, which calls the rules from
here.

Modules: ``errors``, ``roles``, ``keys``, ``tokens``, ``invitations``, ``codes``, ``throttle``,
``passwords``, ``origins``, ``turn``, ``seal``, ``redact``.
"""
