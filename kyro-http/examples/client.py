#!/usr/bin/env python3
"""A client of kyro-http with nothing but Python's standard library.

    python3 client.py http://127.0.0.1:8080      (a token: KYRODB_AUTH_TOKEN)

Keys are whole numbers up to 2**64 - 1, values are bytes; every write is durable when its call returns.
"""
import http.client
import json
import os
import struct
import sys
import urllib.parse


class KyroError(Exception):
    """What the server refused: status, its stable code, and the reason."""

    def __init__(self, status, code, detail):
        super().__init__(f"{status} {code}: {detail}")
        self.status, self.code = status, code


class Kyro:
    def __init__(self, url, token=None):
        parts = urllib.parse.urlsplit(url)
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=60)
        self.headers = {"authorization": f"Bearer {token}"} if token else {}

    def request(self, method, path, body=None, headers=None, absent=False):
        self.connection.request(method, path, body, {**self.headers, **(headers or {})})
        response = self.connection.getresponse()
        data = response.read()
        if response.status == 404 and absent:
            return None
        if response.status >= 400:
            problem = json.loads(data or b"{}")
            raise KyroError(response.status, problem.get("code"), problem.get("detail"))
        return response, data

    def put(self, key, value, if_offset=None):
        """Sets a key and gives the offset; with if_offset only over the value of that offset (else KyroError, 412)."""
        headers = {"content-type": "application/octet-stream"}
        if if_offset is not None:
            headers["if-match"] = f'"{if_offset}"'
        return json.loads(self.request("PUT", f"/v1/kv/{key}", value, headers)[1])["offset"]

    def get(self, key):
        """The value and its offset, or None."""
        answer = self.request("GET", f"/v1/kv/{key}", absent=True)
        return answer and (answer[1], int(answer[0].headers["etag"].strip('"')))

    def delete(self, key):
        """Whether there was a value to remove."""
        return self.request("DELETE", f"/v1/kv/{key}", absent=True) is not None

    def mget(self, keys):
        """The values of many keys in one round trip, None where there is none."""
        packed = struct.pack(f"<{len(keys)}Q", *keys)
        kinds = {"content-type": "application/octet-stream", "accept": "application/vnd.kyro.v1+binary"}
        frame = self.request("POST", "/v1/mget", packed, kinds)[1]
        values, at = [], 16
        while len(values) < len(keys):
            (length,) = struct.unpack_from("<I", frame, at)
            at += 4
            values.append(None if length == 0xFFFFFFFF else frame[at : at + length])
            at += 0 if length == 0xFFFFFFFF else length
        return values

    def batch(self, operations):
        """All or nothing: [{"op": "put", "key": 1, "value": "a"}, {"op": "delete", "key": 2, "if_present": True}]."""
        body = json.dumps({"operations": operations})
        return json.loads(self.request("POST", "/v1/batch", body, {"content-type": "application/json"})[1])

    def scan(self, first=0, last=2**64 - 1, page=1000):
        """Keys and JSON-text values in the order of the keys, a page at a time."""
        cursor = ""
        while True:
            path = f"/v1/scan?from={first}&to={last}&limit={page}{cursor}"
            lines = [json.loads(line) for line in self.request("GET", path)[1].splitlines()]
            more = lines.pop()["cursor"] if lines and "cursor" in lines[-1] else None
            yield from ((line["key"], line.get("value", line.get("value_base64"))) for line in lines)
            if more is None:
                return
            cursor = f"&cursor={more}"


if __name__ == "__main__":
    db = Kyro(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080", os.environ.get("KYRODB_AUTH_TOKEN"))
    largest = 2**64 - 1
    offset = db.put(largest, b"\x00\xff")
    assert db.get(largest) == (b"\x00\xff", offset)
    later = db.put(largest, b"again", if_offset=offset)
    try:
        db.put(largest, b"too late", if_offset=offset)
        raise AssertionError("the condition should not hold")
    except KyroError as error:
        assert error.status == 412, error
    db.batch([{"op": "put", "key": key, "value": f"value {key}"} for key in range(25)])
    assert db.mget([3, 999, largest]) == [b"value 3", None, b"again"]
    assert [key for key, _ in db.scan(last=100, page=10)] == list(range(25))
    assert db.delete(3) and not db.delete(3) and db.get(3) is None
    print(f"26 keys written, the last at offset {later}; all as expected")
