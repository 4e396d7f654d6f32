# SPDX-License-Identifier: Apache-2.0
"""The media relay: one UDP port, ICE-lite, DTLS, SRTP, nothing decoded. aiortc and its parts are imported only here."""
