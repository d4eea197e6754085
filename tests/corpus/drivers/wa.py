import sys

sys.path.insert(0, "@BUILD@/x/usr/lib/python3/dist-packages")
sys.path.append("/usr/lib/python3/dist-packages")
from azurelinuxagent.common.protocol.imds import ImdsClient

c = ImdsClient("168.63.129.16")
print(str(c.get_compute())[:200])
