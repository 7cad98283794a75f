"""A large upload by requests: `upload_session.py URL length|chunked MEBIBYTES`, prints what the app counted of it
and the sum of what was sent."""

import hashlib
import json
import sys
import zlib

import requests

MEBIBYTE = 1 << 20
PATTERN = hashlib.shake_256(b"upload").digest(MEBIBYTE)


class Body:
    """So many mebibytes, each another one, made as they are read."""

    def __init__(self, pieces: int):
        self.pieces, self.at, self.crc = pieces, 0, 0

    def __iter__(self):
        while piece := self.read():
            yield piece

    def read(self, _size: int = MEBIBYTE) -> bytes:
        if self.at == self.pieces:
            return b""
        piece = self.at.to_bytes(8, "big") + PATTERN[8:]
        self.at += 1
        self.crc = zlib.crc32(piece, self.crc)
        return piece


class Sized(Body):
    def __len__(self) -> int:
        return self.pieces * MEBIBYTE


def main(url: str, how: str, pieces: str) -> None:
    body = {"length": Sized, "chunked": Body}[how](int(pieces))
    with requests.Session() as client:
        client.trust_env = False
        answer = client.post(url, data=body if how == "length" else iter(body), timeout=300)
    answer.raise_for_status()
    print(json.dumps({**answer.json(), "sent": body.crc}))


if __name__ == "__main__":
    main(*sys.argv[1:])
