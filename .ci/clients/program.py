"""Uses the generated Python client as an application would: registers a user, works on a project, buys
a hat, demands a work and reads telemetry back. Exits with an error at the first surprise.
"""

import os
import time
import uuid

from tributary_client import AuthenticatedClient, Client
from tributary_client.api.orders import add_product, get_order, move_stock, place_order
from tributary_client.api.page_views import record_page_views
from tributary_client.api.projects import create_project
from tributary_client.api.tasks import change_task, create_task, get_task, list_tasks
from tributary_client.api.telemetry import list_readings, record_readings
from tributary_client.api.users import get_current_user, register_user, sign_in
from tributary_client.api.works import demand_work, get_work
from tributary_client.models import (
    CartItem, GrantType, NewOrder, NewProduct, NewProject, NewTask, NewUser, OrderStatus, Problem,
    SentPageView, SentReading, SignIn, StockMove, TaskChanges, TaskStatus, WorkDemand,
)

URL = os.environ["TRIBUTARY_URL"]
SHOWN = "wait=10"  # Responds once the read model shows the effect.


def ok(response, status):
    """Returns the body of a response with this status."""
    if response.status_code != status:
        raise SystemExit(f"{response.status_code.value} instead of {status}: {response.content!r}")
    return response.parsed


def until(what, holds):
    """Waits until `holds` returns something, and returns it."""
    for _ in range(150):
        if found := holds():
            return found
        time.sleep(0.1)
    raise SystemExit(f"timeout: {what}")


anyone = Client(base_url=URL)
email, password = f"{uuid.uuid4()}@example.org", "correct horse battery"
user = NewUser(email=email, password=password, full_name="Ada Lovelace")
ok(register_user.sync_detailed(client=anyone, body=user, prefer=SHOWN), 201)
form = SignIn(username=email, password=password, grant_type=GrantType.PASSWORD)
tokens = ok(sign_in.sync_detailed(client=anyone, body=form), 200)
ada = AuthenticatedClient(base_url=URL, token=tokens.access_token)
me = ok(get_current_user.sync_detailed(client=ada), 200)
assert me.email == email, me

project = ok(create_project.sync_detailed(client=ada, body=NewProject(name="Move house"), prefer=SHOWN), 201)
new = NewTask(project_id=project.id, title="Pack the books", assignee_id=me.id)
task = ok(create_task.sync_detailed(client=ada, body=new, prefer=SHOWN), 201)
changes = TaskChanges(status=TaskStatus.INPROGRESS)
ok(change_task.sync_detailed(task.id, client=ada, body=changes, prefer=SHOWN), 204)
assert ok(get_task.sync_detailed(task.id, client=ada), 200).status == TaskStatus.INPROGRESS
assert len(ok(list_tasks.sync_detailed(client=ada, project_id=project.id), 200).items) == 1

# The clerk has the role `admin`.
clerk = AuthenticatedClient(base_url=URL, token=os.environ["TRIBUTARY_TOKEN"])
hat = NewProduct(sku=uuid.uuid4().hex, name="Hat", price="9.90", currency="EUR")
hat = ok(add_product.sync_detailed(client=clerk, body=hat), 201)
move = StockMove(quantity=5, reason="delivery")
ok(move_stock.sync_detailed(hat.id, client=clerk, body=move), 204)
cart, key = NewOrder(items=[CartItem(product_id=hat.id, quantity=2)]), uuid.uuid4().hex
order = ok(place_order.sync_detailed(client=ada, body=cart, idempotency_key=key, prefer=SHOWN), 202)
again = ok(place_order.sync_detailed(client=ada, body=cart, idempotency_key=key), 202)
assert (order.id, order.total) == (again.id, "19.80"), (order, again)


def confirmed():
    shown = ok(get_order.sync_detailed(order.id, client=ada), 200)
    return shown if shown.status == OrderStatus.CONFIRMED else None


assert until("the order is confirmed", confirmed).reason is None
refused = ok(place_order.sync_detailed(client=ada, body=NewOrder(items=[])), 422)
assert isinstance(refused, Problem) and refused.errors[0].pointer == "/items", refused

response = demand_work.sync_detailed(client=ada, body=WorkDemand(add_up_to=4))
work, position = ok(response, 202), int(response.headers["tributary-position"])


def done():
    shown = get_work.sync_detailed(work.id, client=ada, tributary_min_position=position)
    shown = ok(shown, 200)
    return shown if shown.done else None


assert until("the work is done", done).result == 10

reading = SentReading(user_id=str(me.id), device_id="attic", sequence_id=1, temperature=21.5)
reading.additional_properties = {"humidity": 40}
sent = ok(record_readings.sync_detailed(client=ada, body=[reading], prefer=SHOWN), 200)
assert [verdict.verdict.value for verdict in sent.items] == ["accepted"], sent
readings = ok(list_readings.sync_detailed(str(me.id), "attic", client=ada), 200)
shown = readings.to_dict()["items"]
assert len(shown) == 1 and shown[0]["temperature"] == 21.5, shown

view = SentPageView(path="/pricing", referrer="")
assert ok(record_page_views.sync_detailed(client=anyone, body=view), 202).accepted == 1
print("the Python client works")
