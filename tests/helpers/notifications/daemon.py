"""A notification daemon for tests: `daemon.py TOLD READY` on the session bus of its environment.

It answers what notify-send asks (Desktop Notifications Specification, 1.2), appends each notification to TOLD as a JSON
line, and writes its pid and the address of the bus to READY when it listens. It ends with its bus, or after a minute.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from jeepney import HeaderFields, MessageType, new_error, new_method_return
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection

LIFETIME = 60
NAME = "org.freedesktop.Notifications"


def main(told: str, ready: str) -> None:
    signal.alarm(LIFETIME)
    connection = open_dbus_connection(bus="SESSION")
    connection.send_and_get_reply(message_bus.RequestName(NAME))
    with open(ready + ".part", "w", encoding="utf-8") as file:
        json.dump({"pid": os.getpid(), "address": os.environ["DBUS_SESSION_BUS_ADDRESS"]}, file)
    os.replace(ready + ".part", ready)
    number = 0
    while True:
        try:
            message = connection.receive()
        except (ConnectionResetError, EOFError):
            return
        if message.header.message_type != MessageType.method_call:
            continue
        member = message.header.fields[HeaderFields.member]
        if member == "Notify":
            number += 1
            note(told, message.body)
            answer = new_method_return(message, "u", (number,))
        elif member == "GetCapabilities":
            answer = new_method_return(message, "as", (["body", "body-markup"],))
        elif member == "GetServerInformation":
            answer = new_method_return(message, "ssss", ("daemon of the tests", "memguard", "1", "1.2"))
        else:
            answer = new_error(message, "org.freedesktop.DBus.Error.UnknownMethod")
        connection.send(answer)


def note(told: str, body: tuple[object, ...]) -> None:
    """Append one notification: Notify(app, replaces, icon, summary, body, actions, hints, timeout)."""
    application, _, _, title, text, _, hints, _ = body
    urgency = hints["urgency"][1] if isinstance(hints, dict) and "urgency" in hints else None
    line = json.dumps({"application": application, "title": title, "text": text, "urgency": urgency}) + "\n"
    with open(told, "a", encoding="utf-8") as file:
        file.write(line)


if __name__ == "__main__":
    main(*sys.argv[1:])
