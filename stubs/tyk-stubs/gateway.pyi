from gateway import TykGateway as TykGateway
