"""Models for others: a run as a folder with a card and hashes, on this machine or on the Hugging Face Hub."""

from mscsa.hub.pull import pull as pull
from mscsa.hub.push import push as push
